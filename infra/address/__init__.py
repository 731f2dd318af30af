"""The address-plan compiler: pure functions, no Pulumi."""

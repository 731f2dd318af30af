"""Native Pulumi providers."""

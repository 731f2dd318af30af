"""The provider of `tinh:network:RouterConfig`: a router's configuration files as one Pulumi resource."""

"""Pulumi components, one `ComponentResource` per file."""

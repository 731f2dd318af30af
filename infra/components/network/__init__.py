"""Routers and what connects them."""

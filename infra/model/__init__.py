"""Pydantic models of a site: the facts of a province and of its data centre."""

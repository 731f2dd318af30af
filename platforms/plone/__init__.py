"""Plone, the engine of portal and gazette: one image, one way to run it, one way to seed a site."""

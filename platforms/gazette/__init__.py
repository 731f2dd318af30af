"""Official e-gazette: a Plone site of its own, with content types for issues and documents."""

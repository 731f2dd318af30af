"""Fields of the content types, as XML that plone.supermodel reads."""

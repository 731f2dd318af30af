"""Provincial portal: Plone, with sub-sites for units and agencies."""

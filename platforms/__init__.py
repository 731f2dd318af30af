"""The shared platforms: one folder each, with its facts, component and image."""

"""Pure renderers from models to text."""

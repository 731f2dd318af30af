"""The importable library of `tinh`: models, compilers, renderers and components. No side effects on import."""

"""Pulumi programs: one module per layer, dispatched on the stack name by `__main__`."""

"""The `tinh` command line: click groups at the edge, one module per group."""

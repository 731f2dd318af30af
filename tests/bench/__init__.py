"""Benchmarks: what `tinh` and Pulumi cost, against kubectl on the same objects in the same run."""

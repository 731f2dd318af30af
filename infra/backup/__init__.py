"""Backups outside the cluster: what there is, how it is sealed and kept, how it comes back, how that is proven."""

"""Data services: object storage, databases, caches, streams and mail.

The layer `data` makes what is shared; an application's component takes from it what its facts ask for: `Database` for
a store of engine postgresql, `Access` for the others.
"""

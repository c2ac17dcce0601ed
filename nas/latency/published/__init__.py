"""Which latencies have others published, and for which blocks and networks?

A module reads the files of one source, in the layouts that latency_tables/README.md describes; the files themselves are
not part of the project.
"""

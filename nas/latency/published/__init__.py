"""Read latencies that others have published, make tables from them, and import measurements of one's own.

Each module reads the files of one source, in the layouts that latency_tables/README.md describes. The files are not
part of the project.
"""

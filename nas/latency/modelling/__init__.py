"""Latencies that were not measured: linear cost models, rows of other sizes, few-sample adaptation."""

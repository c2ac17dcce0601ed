"""Models of latencies that were not measured: linear cost models, rows of other sizes, adaptation to a new device."""

"""Tests of `nas.benchmarks`."""

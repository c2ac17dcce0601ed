"""Tests of `nas.latency.measuring`."""

"""Tests of `nas.latency`."""

"""Tests of `nas.latency.published`."""

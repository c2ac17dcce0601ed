"""Tests of `nas.latency.modelling`."""

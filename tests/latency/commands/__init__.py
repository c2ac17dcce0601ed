"""Tests of `nas.latency.commands`."""

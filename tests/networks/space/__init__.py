"""Tests of `nas.networks.space`."""

"""Tests of `nas.networks.operators`."""

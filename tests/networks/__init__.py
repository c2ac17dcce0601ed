"""Tests of `nas.networks`."""

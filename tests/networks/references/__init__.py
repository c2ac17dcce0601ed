"""Tests of `nas.networks.references`."""

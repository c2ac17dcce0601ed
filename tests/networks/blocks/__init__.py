"""Tests of `nas.networks.blocks`."""

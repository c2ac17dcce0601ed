"""Tests of `nas.deploy.pruning`."""

"""Tests of `nas.deploy.quantisation`."""

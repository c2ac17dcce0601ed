"""Tests of `nas.deploy.export`."""

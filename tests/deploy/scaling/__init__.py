"""Tests of `nas.deploy.scaling`."""

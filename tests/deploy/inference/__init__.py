"""Tests of `nas.deploy.inference`."""

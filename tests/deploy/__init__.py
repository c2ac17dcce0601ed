"""Tests of `nas.deploy`."""

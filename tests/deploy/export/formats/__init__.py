"""Tests of `nas.deploy.export.formats`."""

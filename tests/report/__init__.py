"""Tests of `nas.report`."""

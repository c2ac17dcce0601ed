"""Tests of `nas.accuracy.data`."""

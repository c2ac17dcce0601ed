"""Tests of `nas.accuracy.training`."""

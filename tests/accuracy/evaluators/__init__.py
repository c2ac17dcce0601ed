"""Tests of `nas.accuracy.evaluators`."""

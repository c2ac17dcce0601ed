"""Tests of `nas.accuracy.full_training`."""

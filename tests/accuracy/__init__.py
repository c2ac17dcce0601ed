"""Tests of `nas.accuracy`."""

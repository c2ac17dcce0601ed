"""Tests of `nas.search.run`."""

"""Tests of `nas.search.sampling`."""

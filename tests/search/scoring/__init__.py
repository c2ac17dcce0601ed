"""Tests of `nas.search.scoring`."""

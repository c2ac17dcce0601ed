"""Tests of `nas.search.results`."""

"""Tests of `nas.search.workers`."""

"""Tests of `nas`, laid out as it is."""

"""Tests of `nas.search.sampling.front_sampler`."""

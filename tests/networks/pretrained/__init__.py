"""Tests of `nas.networks.pretrained`."""

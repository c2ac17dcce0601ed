"""Tests of `nas.deploy.commands`."""

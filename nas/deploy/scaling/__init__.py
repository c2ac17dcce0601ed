"""Families of networks: compound scaling, fitted to a device's latency."""

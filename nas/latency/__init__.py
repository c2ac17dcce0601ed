"""Latency and energy of networks on a device: latency tables, and how they are made."""

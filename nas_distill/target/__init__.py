"""Latency and throughput of networks on the device that they are for."""

"""Simulated clouds for demonstration, training and drills: hosts, capacity, latency, addresses and faults, no guests."""

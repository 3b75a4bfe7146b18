"""What a network costs, measured before it is trained: parameters, operations and latency."""

"""What people use instead, each installed from its registry into a folder of its own, and started as its manual says."""

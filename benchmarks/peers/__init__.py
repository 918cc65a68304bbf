"""What people use instead: each installed into a folder of its own, and started as its manual says."""

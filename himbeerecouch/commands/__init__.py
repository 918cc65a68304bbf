"""Command documents: claimed, run in a process group of their own, and answered."""

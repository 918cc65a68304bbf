"""What happens at a boot: the programs start from disk, and one that took the daemon with it does not."""

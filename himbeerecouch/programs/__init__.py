"""The code host: loads programs, runs them in threads, and stops them."""

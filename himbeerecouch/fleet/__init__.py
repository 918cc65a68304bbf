"""What an operator does with a fleet, without a command line and without a page."""

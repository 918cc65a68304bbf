"""What the Pi says of itself in the database: that it is there, what runs, what failed, what was printed."""

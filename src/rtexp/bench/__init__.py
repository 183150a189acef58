"""What an action costs, and how soon it shows: measured on real workers and a real broker."""

"""What every worker serves itself: its health, its tables, and single entries of them. Not Faust's own views."""

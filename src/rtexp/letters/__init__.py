"""Dead letters after the fact: finding, showing, editing, and sending again."""

"""``python -m rtexp``: the same as the command `rtexp`."""

from rtexp.cli import main

main()

"""The commands of ``rtexp``, a module each; `rtexp.cli` puts them together."""

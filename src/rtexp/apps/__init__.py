"""`faust -A rtexp.apps.aggregate worker`: a few lines each."""

"""The results job: ``faust -A rtexp.apps.results worker -l info``."""

from rtexp.bootstrap import worker_app

app = worker_app("results")

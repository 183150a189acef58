"""The aggregate job: ``faust -A rtexp.apps.aggregate worker -l info``."""

from rtexp.bootstrap import worker_app

app = worker_app("aggregate")

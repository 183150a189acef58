"""The ingest job: ``faust -A rtexp.apps.ingest worker -l info``."""

from rtexp.bootstrap import worker_app

app = worker_app("ingest")

"""Logs of long-running processes: one form for our lines, Faust's, uvicorn's and the Kafka client's."""

from rtexp.logs.secrets import secrets_of
from rtexp.logs.setup import Setup, configure, is_json

__all__ = ["Setup", "configure", "is_json", "secrets_of"]

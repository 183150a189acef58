"""Health: whether the process runs, and whether it can answer; open to everybody, so it tells nothing else."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
import logging

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from rtexp.errors import RtexpError
from rtexp.store.migrate import check_revision
from rtexp.web.problems import RETRY_SECONDS
from rtexp.web.state import engine_of

_log = logging.getLogger(__name__)


routes = APIRouter(prefix="/health")


@routes.get("/live")
async def live() -> Response:
    """Answer as long as the process does."""
    return JSONResponse({"live": True})


@routes.get("/ready")
def ready(request: Request) -> Response:
    """Answer 200 if SQL answers and has the tables of this version, otherwise 503 with the reason."""
    try:
        check_revision(engine_of(request))
    except RtexpError as error:
        _log.warning("not ready: %s", error)  # where it is and why is for those who may read logs
        headers = {"Retry-After": RETRY_SECONDS}
        return JSONResponse({"ready": False, "reasons": [error.code]}, 503, headers)
    return JSONResponse({"ready": True, "reasons": []})

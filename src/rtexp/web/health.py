"""Health: whether the process runs, and whether it can answer; open to everybody, so it tells nothing else."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
import asyncio
import logging

from fastapi import APIRouter, Request
from sqlalchemy import Engine
from starlette.responses import JSONResponse, Response

from rtexp.errors import RtexpError
from rtexp.store.migrate import check_revision
from rtexp.web.problems import RETRY_SECONDS

_log = logging.getLogger(__name__)


routes = APIRouter(prefix="/health")


@routes.get("/live")
async def live() -> Response:
    """Answer as long as the process does."""
    return JSONResponse({"live": True})


@routes.get("/ready")
async def ready(request: Request) -> Response:
    """Answer 200 if SQL answers and has the tables of this version, otherwise 503 with the reason."""
    readiness: Readiness = request.app.state.readiness
    reason = await readiness.reason()
    if reason is not None:
        headers = {"Retry-After": RETRY_SECONDS}
        return JSONResponse({"ready": False, "reasons": [reason]}, 503, headers)
    return JSONResponse({"ready": True, "reasons": []})


class Readiness:
    """Asks SQL once for all who ask meanwhile: they needn't be known, and may not take the threads of pages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asking: asyncio.Task[str | None] | None = None

    async def reason(self) -> str | None:
        """Return why pages can't be answered, as a stable code; None if they can."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(_reason, self._engine))
        return await asyncio.shield(self._asking)  # who goes away takes no answer from others


def _reason(engine: Engine) -> str | None:
    try:
        check_revision(engine)
    except RtexpError as error:
        _log.warning("not ready: %s", error)  # where it is and why is for those who may read logs
        return error.code
    return None

"""What an application holds for its routes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rtexp.core.buckets import HOUR_MS

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from sqlalchemy import Engine

    from rtexp.settings import Settings
    from rtexp.web.state_tables import StateTables


def hold(app: FastAPI, settings: Settings, engine: Engine) -> None:
    """Give the routes their settings and database."""
    app.state.settings = settings
    app.state.engine = engine


def settings_of(request: Request) -> Settings:
    """Return the settings."""
    return settings_of_app(request.app)


def settings_of_app(app: FastAPI) -> Settings:
    """Return the settings."""
    settings: Settings = app.state.settings
    return settings


def engine_of(request: Request) -> Engine:
    """Return the database."""
    engine: Engine = request.app.state.engine
    return engine


def state_tables_of(request: Request) -> StateTables:
    """Return what asks the workers."""
    tables: StateTables = request.app.state.state_tables
    return tables


def now_ms() -> int:
    """Return the wall clock's time: pages say how old numbers are."""
    return int(time.time() * 1000)


def period_ms_of(request: Request) -> int:
    """Return how long a period is."""
    return settings_of(request).pipeline.period_hours * HOUR_MS

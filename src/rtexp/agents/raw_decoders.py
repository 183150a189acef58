"""How the settings say that raw actions and activations are to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.records.raw import RawDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.settings import Settings, TimeFormat


def action_decoder(settings: Settings) -> RawDecoder:
    """Return the decoder of actions; ConfigError for field paths that can't be used."""
    fields = settings.actions
    paths = {"user": fields.user, "event": fields.event, "time": fields.time}
    return _decoder(settings, paths, fields.time_format)


def activation_decoder(settings: Settings) -> RawDecoder:
    """Return the decoder of activations; ConfigError for field paths that can't be used."""
    fields = settings.activations
    paths = {
        "user": fields.user,
        "experiment": fields.experiment,
        "group": fields.group,
        "time": fields.time,
    }
    return _decoder(settings, paths, fields.time_format)


def _decoder(settings: Settings, paths: Mapping[str, str], time_format: TimeFormat) -> RawDecoder:
    return RawDecoder(
        paths,
        time_format=time_format,
        max_message_bytes=settings.actions.max_message_bytes,
        max_ahead_ms=round(settings.pipeline.max_ahead_seconds * 1000),
    )

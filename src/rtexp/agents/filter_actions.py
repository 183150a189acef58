"""filter_actions: raw actions in, tracked ones out, by user."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from rtexp.agents.filtering import REASON_INDEX, Filter, RawRows
from rtexp.agents.raw_decoders import action_decoder
from rtexp.records import filtered
from rtexp.records.filtered import FilteredActions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rtexp.records.filtered import Segment
    from rtexp.settings import Settings

_UNTRACKED = -1 - REASON_INDEX["untracked"]


class TrackedEvents:
    """Keeps actions of the events that are tracked; waits for nothing."""

    def __init__(self, tracked: Sequence[str]) -> None:
        self.names = list(tracked)
        self._places = {event: place for place, event in enumerate(tracked)}

    def verdicts(self, rows: RawRows) -> NDArray[np.int64]:
        """See `rtexp.agents.filtering.Judge`."""
        _, events = rows.texts
        return np.fromiter(map(self._places.get, events, repeat(_UNTRACKED)), np.int64, len(events))


class FilterActions(Filter[str]):
    """The forwarder of actions."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            settings,
            name="actions",
            raw_topic=settings.actions.topic,
            decoder=action_decoder(settings),
            make_record=_record,
        )
        self._tracked = TrackedEvents(settings.actions.tracked)

    def judge(self) -> TrackedEvents:
        """See `rtexp.agents.filtering.Filter`."""
        return self._tracked


def filter_actions(settings: Settings) -> FilterActions:
    """Return the forwarder that these settings describe; ConfigError for field paths that can't be used."""
    return FilterActions(settings)


def _record(sources: int, events: list[str], reasons: list[str], segments: list[Segment]) -> bytes:
    return filtered.encode(FilteredActions(filtered.VERSION, sources, events, reasons, segments))

"""filter_activations: raw activations in, those of a period out, by user, each with its period and last ramp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rtexp.agents.filtering import REASON_INDEX, Filter, RawRows
from rtexp.agents.raw_decoders import activation_decoder
from rtexp.core.acceptance import Acceptance, Accepted, Rejection
from rtexp.records import filtered
from rtexp.records.filtered import FilteredActivations, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rtexp.records.filtered import Segment
    from rtexp.records.snapshot import Snapshot
    from rtexp.settings import Settings

_VERDICTS = {rejection: -1 - REASON_INDEX[rejection] for rejection in Rejection}


class PeriodMembers:
    """Keeps activations that belong to a period; waits for metadata that is newer than they are."""

    def __init__(self, acceptance: Acceptance | None) -> None:
        self.names: list[Kind] = []
        self._acceptance = acceptance
        self._places: dict[Accepted, int] = {}

    def verdicts(self, rows: RawRows) -> NDArray[np.int64]:
        """See `rtexp.agents.filtering.Judge`."""
        verdicts: list[int] = []
        if self._acceptance is not None:
            _, experiments, groups = rows.texts
            of_rows = zip(experiments, groups, rows.times_ms.tolist(), rows.arrivals_ms.tolist(), strict=True)
            for experiment, group, at_ms, arrival_ms in of_rows:
                outcome = self._acceptance.judge(experiment, group, at_ms, arrival_ms)
                if outcome is None:
                    break
                verdicts.append(
                    _VERDICTS[outcome] if isinstance(outcome, Rejection) else self._place(outcome)
                )
        return np.array(verdicts, np.int64)

    def _place(self, accepted: Accepted) -> int:
        place = self._places.get(accepted)
        if place is None:
            place = self._places[accepted] = len(self.names)
            self.names.append(Kind(*accepted))
        return place


class FilterActivations(Filter[Kind]):
    """The forwarder of activations; knows no experiments until `set_snapshot` is called."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            settings,
            name="activations",
            raw_topic=settings.activations.topic,
            decoder=activation_decoder(settings),
            make_record=_record,
        )
        self._wait_ms = round(settings.metadata.wait_seconds * 1000)
        self._grace_ms = round(settings.pipeline.grace_minutes * 60_000)
        self._acceptance: Acceptance | None = None

    def set_snapshot(self, snapshot: Snapshot) -> None:
        """Judge by this snapshot from now on; one that isn't newer than the last is ignored."""
        if self._acceptance is None or snapshot.as_of_ms > self._acceptance.as_of_ms:
            self._acceptance = Acceptance(
                snapshot.experiments,
                as_of_ms=snapshot.as_of_ms,
                wait_ms=self._wait_ms,
                grace_ms=self._grace_ms,
            )

    def judge(self) -> PeriodMembers:
        """See `rtexp.agents.filtering.Filter`."""
        return PeriodMembers(self._acceptance)

    def details(self) -> Mapping[str, Any]:
        """See `rtexp.agents.filtering.Filter`; the newest snapshot's time is None before the first."""
        return {"snapshot_as_of_ms": self._acceptance.as_of_ms if self._acceptance else None}


def filter_activations(settings: Settings) -> FilterActivations:
    """Return the forwarder that these settings describe; ConfigError for field paths that can't be used."""
    return FilterActivations(settings)


def _record(sources: int, kinds: list[Kind], reasons: list[str], segments: list[Segment]) -> bytes:
    return filtered.encode(FilteredActivations(filtered.VERSION, sources, kinds, reasons, segments))

"""Reading what Prometheus would read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client.samples import Sample


class Scrape:
    """One answer of `/metrics`, parsed."""

    def __init__(self, body: bytes) -> None:
        self.samples: list[Sample] = []
        self.kinds: dict[str, str] = {}
        for family in text_string_to_metric_families(body.decode()):
            self.kinds[family.name] = family.type
            self.samples += family.samples

    def all(self, name: str) -> dict[tuple[str, ...], float]:
        """Values of a metric by the values of its labels, in order of the labels' names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for sample in self.samples
            if sample.name == name
        }

    def one(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """The one value of a metric with these labels, among others."""
        (found,) = [
            sample.value
            for sample in self.samples
            if sample.name == name and (labels or {}).items() <= sample.labels.items()
        ]
        return found

    @property
    def names(self) -> set[str]:
        """Names as the definitions have them: of the metric, not of its parts."""
        return {f"{name}_total" if kind == "counter" else name for name, kind in self.kinds.items()}

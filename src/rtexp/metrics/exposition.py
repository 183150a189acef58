"""From values to what Prometheus reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from rtexp.metrics.definitions import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric as Family


class Sample(NamedTuple):
    """One value of a defined metric; of a summary, how many there were and their sum."""

    name: str
    labels: tuple[str, ...]
    """In the order of the definition."""
    value: float
    observed: int = 0
    """Summaries only: ``value`` is their sum."""


class Samples(Protocol):
    """Whatever can say its values now."""

    def __call__(self) -> Iterable[Sample]: ...  # noqa: D102


class _Pulled(Collector):
    """Values that nobody keeps for Prometheus: they are asked for at every scrape."""

    def __init__(self, sources: Iterable[Samples]) -> None:
        self._sources = list(sources)

    def collect(self) -> Iterator[Family]:
        families: dict[str, Family] = {}
        for source in self._sources:
            for sample in source():
                family = families.get(sample.name)
                if family is None:
                    family = families[sample.name] = _family(sample.name)
                _add(family, sample)
        yield from families.values()


def _family(name: str) -> Family:
    metric = BY_NAME[name]
    made: Callable[..., Family] = {
        "counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "summary": SummaryMetricFamily,
    }[metric.kind]  # fmt: skip
    return made(name, metric.help, labels=metric.labels)


def _add(family: Family, sample: Sample) -> None:
    labels = list(sample.labels)
    if len(labels) != len(BY_NAME[sample.name].labels):
        raise ValueError(f"{sample.name} has the labels {BY_NAME[sample.name].labels}, not {labels}")
    if isinstance(family, SummaryMetricFamily):
        family.add_metric(labels, count_value=sample.observed, sum_value=sample.value)
    else:
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
        family.add_metric(labels, sample.value)


class Answer(NamedTuple):
    """What a scrape gets."""

    body: bytes
    content_type: str


class Exposition:
    """All that one process shows: the process itself, ``sources``, and collectors of prometheus_client."""

    def __init__(self, sources: Iterable[Samples], *collectors: Collector) -> None:
        # Of its own: the library's global registry also has metrics of Python that stand in no table of ours.
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        for collector in (_Pulled(sources), *collectors):
            self._registry.register(collector)

    def render(self, accept: str = "") -> Answer:
        """Return all values as of now, in the form that the header ``accept`` asks for."""
        encode, content_type = choose_encoder(accept)
        return Answer(encode(self._registry), content_type)

"""Looks are frozen alike however the partials are cut, and whatever is saved, lost and run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from tests import look_samples
from tests.look_sums_streams import partials_of, plain
from tests.oracle.look_sums import Delta, Frozen, LookTime, Record, frozen_looks

from rtexp.agents.merge import MergeState, PartialsBatch
from rtexp.engine.api import Output, Page
from rtexp.settings import PipelineSettings, Settings, SketchSettings, StatisticsSettings
from rtexp.statistics.evaluation import PeriodEvaluator
from rtexp.tables.look_sums import PREFIXES
from rtexp.tables.looks import EvaluatedLook, LookLedger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.statistics.looks import LookRecord

TOPIC = "rtexp.partials"
MINUTE = 60_000
BUCKET = 15 * MINUTE
HOUR = 60 * MINUTE
SETTLE = MINUTE
SETTINGS = Settings(
    pipeline=PipelineSettings(period_hours=1, bucket_minutes=15, grace_minutes=0),
    sketch=SketchSettings(lg_k=10),
    statistics=StatisticsSettings(settle_seconds=60),
)

starts = st.sampled_from([HOUR, HOUR + 7 * MINUTE, 2 * HOUR])
deltas = st.builds(
    Delta,
    st.sampled_from(["a", "A/b"]),
    starts,
    st.sampled_from(["c", "t"]),
    st.sampled_from(["", "click"]),
    st.integers(4, 12).map(lambda bucket: bucket * BUCKET),
    st.tuples(*[st.integers(0, 2**40)] * 5),
)
# About the due times of looks, to the millisecond; and when all periods may be forgotten.
near = st.builds(
    lambda k, by: k * BUCKET + SETTLE + by, st.integers(4, 13), st.sampled_from([-1, 0, 7 * MINUTE])
)
far = st.one_of(near, st.just(30 * HOUR))


def unique(found: Iterable[Delta]) -> tuple[Delta, ...]:
    return tuple({delta[:5]: delta for delta in found}.values())


def streams(sources: int, watermarks: st.SearchStrategy[int] = far) -> st.SearchStrategy[list[Record]]:
    record = st.builds(
        Record, st.integers(0, sources - 1), watermarks, st.lists(deltas, max_size=4).map(unique)
    )
    return st.lists(record, max_size=14)


class Run:
    """`merge` on one partition, with what the engine keeps of it and what evaluation sees of it."""

    def __init__(self, records: list[Record], sources: int) -> None:
        self.records = records
        self.sources = sources
        self.state = MergeState(SETTINGS)
        self.position = 0
        self.pages: dict[bytes, bytes] = {}
        self.saved_at = 0
        self.seen: dict[LookTime, Frozen] = {}

    def apply(self, count: int) -> None:
        cut = self.records[self.position : self.position + count]
        self.position += len(cut)
        self.state.apply(
            TOPIC, [PartialsBatch(partials_of(record, sources=self.sources), 0) for record in cut]
        )
        self.look()

    def look(self, *, drop: bool = False) -> None:
        for waiting in list(self.state.sums.frozen.values()):
            for frozen in list(waiting):
                key = (frozen.experiment, frozen.period_start_ms, frozen.at_ms)
                found = plain(frozen)
                assert self.seen.setdefault(key, found) == found, "the same look, the same sums"
                if drop:
                    self.state.sums.drop(frozen)

    def save(self) -> None:
        for key, value in self.state.changed_pages():
            if value is None:
                self.pages.pop(key, None)
            else:
                self.pages[key] = value
        self.saved_at = self.position

    def crash(self) -> None:
        self.state = MergeState(SETTINGS)
        self.state.load(Page(key, value) for key, value in sorted(self.pages.items()))
        self.position = self.saved_at
        self.look()

    def pages_of_sums(self) -> dict[bytes, bytes]:
        return {key: value for key, value in self.pages.items() if key.startswith(PREFIXES)}


steps = st.lists(st.sampled_from(["apply", "apply 3", "apply", "save", "crash", "drop"]), max_size=30)


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 2).flatmap(lambda n: st.tuples(st.just(n), streams(n))), steps)
def test_any_cuts_checkpoints_and_rewinds_freeze_what_a_plain_recount_gives(
    stream: tuple[int, list[Record]], steps: list[str]
) -> None:
    sources, records = stream
    run = Run(records, sources)
    for step in steps:
        match step:
            case "apply":
                run.apply(1)
            case "apply 3":
                run.apply(3)
            case "save":
                run.save()
            case "crash":
                run.crash()
            case "drop":
                run.look(drop=True)
    while run.position < len(records):
        run.apply(1)
    # Batches hide nothing: all that is frozen waits until somebody drops it.
    run.look()
    assert run.seen == frozen_looks(
        records, sources=sources, bucket_ms=BUCKET, period_ms=HOUR, settle_ms=SETTLE
    )


@settings(deadline=None, max_examples=200)
@given(streams(2, near), st.lists(st.sampled_from(["apply", "apply", "save", "crash"]), max_size=30))
def test_pages_are_byte_for_byte_the_same_after_any_checkpoints_and_crashes(
    records: list[Record], steps: list[str]
) -> None:
    straight, broken = Run(records, 2), Run(records, 2)
    straight.apply(len(records))
    straight.save()
    for step in [*steps, *["apply"] * len(records)]:
        match step:
            case "apply":
                broken.apply(1)
            case "save":
                broken.save()
            case "crash":
                broken.crash()
    broken.save()
    assert broken.pages_of_sums() == straight.pages_of_sums()
    broken.crash()
    # A worker that has loaded them would write them just so.
    broken.state.sums._changed |= set(broken.state.sums._periods)
    again = {page.key: page.value for page in broken.state.sums.changed_pages()}
    assert again == {
        key: value for key, value in straight.pages.items() if key.startswith((b"sums/t/", b"sums/u/"))
    }


# -- the ledger of looks ---------------------------------------------------------------------------------------------


class Worker:
    """Notes looks, flushes, publishes, and dies, as a results worker does; the world keeps what was committed."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.sent: list[bytes | None] = []
        self.sql: dict[tuple[str, int], list[LookRecord]] = {}
        self.ledger = LookLedger()
        self.handed_out: list[EvaluatedLook] = []

    def note(self, experiment: str) -> None:
        period, comparisons = self.ledger.history((experiment, look_samples.START))
        number = period.look if period else 0
        if number < len(look_samples.WORKED):
            evaluator = PeriodEvaluator(
                experiment, look_samples.START, look_samples.PLAN, period=period, comparisons=comparisons
            )
            given_ = look_samples.WORKED[number]
            records = evaluator.look(given_, evaluated_ms=0, version="v").records
            output = Output("results", 0, f"{experiment} {given_.look}".encode(), b"")
            self.ledger.note(
                EvaluatedLook(given_, records), evaluator.period, evaluator.comparisons, [output]
            )

    def flush(self) -> None:
        self.sent += [output.value for output in self.ledger.collect()]
        for key, value in self.ledger.journal():
            if value is None:
                self.pages.pop(key, None)
            else:
                self.pages[key] = value

    def hand_out(self, limit: int) -> None:
        self.handed_out = self.ledger.looks_to_publish(limit)

    def write(self) -> None:
        for look in self.handed_out:
            key = (look.records[0].experiment, look.given.look)
            assert key[0].encode() + b" %d" % key[1] in self.sent, "committed before it is in SQL"
            assert self.sql.setdefault(key, look.records) == look.records
        self.ledger.mark_published(self.handed_out)

    def die(self) -> None:
        self.ledger = LookLedger()
        for key, value in sorted(self.pages.items()):
            self.ledger.load(key, value)
        self.ledger.loaded()
        self.handed_out = []


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(["a", "a", "b/c", "flush", "hand out", "write", "die"]), max_size=40))
def test_looks_noted_published_and_lost_in_any_order_are_each_sent_once_and_in_sql(steps: list[str]) -> None:
    worker, straight = Worker(), Worker()
    rest = ["a"] * 4 + ["b/c"] * 4 + ["flush"] + ["hand out", "write"] * 9
    for step in [*steps, *rest, "flush"]:
        match step:
            case "flush":
                worker.flush()
            case "hand out":
                worker.hand_out(3)
            case "write":
                worker.write()
            case "die":
                worker.die()
            case experiment:
                worker.note(experiment)
    for step in rest[:8]:
        straight.note(step)
    straight.flush()
    straight.hand_out(1000)
    straight.write()
    straight.flush()
    assert sorted(map(str, worker.sent)) == sorted(map(str, straight.sent)), "each once"
    assert worker.sql == straight.sql
    assert len(worker.sql) == 8
    assert worker.pages == straight.pages

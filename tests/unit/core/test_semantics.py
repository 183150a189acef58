"""What counts, to the letter: each rule as a small timeline, asked of the definition, the columns and the oracle.

Times are minutes and milliseconds after `T0`, where a bucket, a slot and an hour begin. A period opens there and
lasts 72 hours. In the drawings T is an activation and A an action; a letter stands where the record arrives.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.oracle import cells as oracle
from tests.properties.users_streams import Step, apply_columns, apply_plain, counts_of, counts_of_deltas

from rtexp.core.acceptance import Acceptance, Accepted
from rtexp.core.arrivals import arrivals_of
from rtexp.core.periods import periods_of, ramps_of
from rtexp.core.rules import Rules
from rtexp.core.users_columns import ColumnarUsers
from rtexp.core.users_plain import Action, Activation, PlainUsers
from rtexp.records.snapshot import Experiment, Period, Ramp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
T0 = 472_222 * HOUR
SLOT, BUCKET, PERIOD = 5 * MINUTE, 15 * MINUTE, 72 * HOUR
END = PERIOD
CLOSED = END + HOUR
"""When the grace ends."""
RULES = Rules(
    tracked=("search", "click"),
    bucket_ms=BUCKET,
    dedup_ms=SLOT,
    cap_per_hour=1000,
    join_delay_ms=10 * SECOND,
    grace_ms=HOUR,
    period_ms=PERIOD,
    lg_k=12,
)
FROM_THE_START = (("a", 5, 0), ("b", 5, 0))
"""Allocations: group, percent, after T0."""


@dataclass(frozen=True)
class T:
    """An activation; it arrives when it happens unless told otherwise."""

    at: int
    arrives: int | None = None
    group: str = "a"
    user: str = "u"
    experiment: str = "x"


@dataclass(frozen=True)
class A:
    """An action, likewise."""

    at: int
    arrives: int | None = None
    event: str = "search"
    user: str = "u"


Cells = dict[tuple[str, str, int], tuple[int, int, int, int, int]]
"""By (group, event, bucket after T0), of all periods: volume, actors, sum of squares, exposures, multiple ones."""


@dataclass(frozen=True)
class Case:
    records: tuple[T | A, ...]
    """In order of arrival, all of one partition."""
    cells: Cells
    cap: int = 1000
    allocations: tuple[tuple[str, float, int], ...] = FROM_THE_START


EXPOSED = (0, 0, 0, 1, 0)


def acted(*before: int) -> tuple[int, int, int, int, int]:
    """One user's actions in a cell, each with so many counted before."""
    return len(before), before.count(0), sum(2 * k + 1 for k in before), 0, 0


def last_bucket(before: int) -> int:
    return before - BUCKET


CASES = {
    # 1. Period and acceptance
    #       0                                  72 h
    #       [------------- period -------------)
    #    T  T                                T T
    "an activation is kept from the period's start until just before its end": Case(
        (T(-1, user="early"), T(0, user="first"), T(END - 1, user="last"), T(END, user="after")),
        {("a", "", 0): EXPOSED, ("a", "", last_bucket(END)): EXPOSED},
    ),
    #       [------------- period -------------)--- 1 h of grace ---)
    #                                         t                    T T
    "an activation must arrive before the end of the grace": Case(
        (T(END - 1, CLOSED - 1, user="in"), T(END - 1, CLOSED, user="late")),
        {("a", "", last_bucket(END)): EXPOSED},
    ),
    "unknown experiments and groups are nobody's": Case(
        (T(0, experiment="y"), T(0, group="c"), A(1)),
        {},
    ),
    #       5 % ----------- 10 % ------------ 72 h
    #       [------------- period -------------)
    #         T    A         T    A                 one trigger, one count
    "a ramp inside a period neither resets nor extends it": Case(
        (T(1), A(2), T(HOUR), A(HOUR + 1), A(END)),
        {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0), ("a", "search", HOUR): acted(1)},
        allocations=(*FROM_THE_START, ("a", 10, HOUR // 2)),
    ),
    #       5 % ------------------------- 72 h ... 75 h 10 % ----
    #       [----------- period -----------)       [----- another
    #       T A                              A     T A
    "after a ramp that follows a period counts start from zero": Case(
        (T(0), A(1), A(END + HOUR), T(END + 3 * HOUR), A(END + 3 * HOUR + 1)),
        {
            ("a", "", 0): EXPOSED,
            ("a", "search", 0): acted(0),
            ("a", "", END + 3 * HOUR): EXPOSED,
            ("a", "search", END + 3 * HOUR): acted(0),
        },
        allocations=(*FROM_THE_START, ("a", 10, END + 3 * HOUR)),
    ),
    #       [------------- period -------------)[-- the next, by a ramp exactly at the end
    #       T                                 A  T A
    "a ramp exactly at the end opens the next period": Case(
        (T(0), A(END - 1), T(END), A(END)),
        {
            ("a", "", 0): EXPOSED,
            ("a", "search", last_bucket(END)): acted(0),
            ("a", "", END): EXPOSED,
            ("a", "search", END): acted(0),
        },
        allocations=(*FROM_THE_START, ("a", 10, END)),
    ),
    "a group without allocation is measured too": Case(
        (T(0, group="b"), A(1)),
        {("b", "", 0): EXPOSED, ("b", "search", 0): acted(0)},
        allocations=(("a", 5, 0), ("b", 0, 0)),
    ),
    # 2. Trigger
    #      0        15 min
    #      t2       T1  T2     the second one tells of an earlier time
    #        A                 so this is before the trigger
    "the first activation in order makes the trigger, whatever the times of later ones": Case(
        (T(BUCKET), T(0, BUCKET + 1), A(5, BUCKET + 2), A(BUCKET + 1, BUCKET + 3)),
        {("a", "", BUCKET): EXPOSED, ("a", "search", BUCKET): acted(0)},
    ),
    "an activation that isn't kept makes no trigger": Case(
        (T(-1), A(1), T(2), A(3)),
        {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0)},
    ),
    #      Ta  A  Tb  A
    "a user in two groups counts in both, and is a multiple exposure where the second began": Case(
        (T(0), A(1), T(BUCKET, group="b"), A(BUCKET + 1)),
        {
            ("a", "", 0): EXPOSED,
            ("a", "search", 0): acted(0),
            ("b", "", BUCKET): (0, 0, 0, 1, 1),
            ("a", "search", BUCKET): acted(1),
            ("b", "search", BUCKET): acted(0),
        },
    ),
    # 3. Repeats: the same action at 7 ms, arriving in slots of 5 minutes
    #      |---- slot 0 ----|---- slot 1 ----|
    "a repeat in the same slot is dropped": Case(
        (T(0), A(7), A(7, SLOT - 1)), {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0)}
    ),
    "a repeat in the next slot is dropped": Case(
        (T(0), A(7), A(7, 2 * SLOT - 1)), {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0)}
    ),
    "a repeat in the second next slot counts": Case(
        (T(0), A(7), A(7, 2 * SLOT)), {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0, 1)}
    ),
    #      A         (A)       A        slots 0, 1, 2: the second isn't kept, so it hides nothing
    "a repeat itself is not kept": Case(
        (T(0), A(7), A(7, SLOT), A(7, 2 * SLOT)),
        {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0, 1)},
    ),
    #                 A at the very start of slot 1
    #               A   1 ms before: arrivals go back by up to 2 s
    "a repeat may arrive one slot before the kept one": Case(
        (T(0), A(7, SLOT), A(7, SLOT - 1)), {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0)}
    ),
    "another event, time or user is no repeat": Case(
        (T(0), T(0, user="v"), A(7), A(7, event="click"), A(8), A(7, 9, user="v")),
        {
            ("a", "", 0): (0, 0, 0, 2, 0),
            ("a", "search", 0): (3, 2, 1 + 3 + 1, 0, 0),
            ("a", "click", 0): acted(0),
        },
    ),
    "an action before its trigger is kept as to repeats": Case(
        (A(7), T(7, 20 * SECOND), A(7, 21 * SECOND)), {("a", "", 0): EXPOSED}
    ),
    # 4. The cap, of 2
    #      |--------- hour 0 ---------|--------- hour 1 ---
    #      T        A   A   (A)      (A)A   A   (A)
    "the cap begins anew with each hour of arrival": Case(
        (T(0), A(HOUR - 4), A(HOUR - 3), A(HOUR - 2), A(HOUR - 1), A(HOUR), A(HOUR + 1), A(HOUR + 2)),
        {
            ("a", "", 0): EXPOSED,
            ("a", "search", HOUR - BUCKET): acted(0, 1),
            ("a", "search", HOUR): acted(2, 3),
        },
        cap=2,
    ),
    "the cap numbers all tracked events together, whether they join or not, and no others": Case(
        (A(0), T(1), A(1, event="scroll"), A(2, event="click"), A(3)),
        {("a", "", 0): EXPOSED, ("a", "click", 0): acted(0)},
        cap=2,
    ),
    #      A1 (A2)          (A2 again, in the next hour, but in the next slot: still a repeat)
    "a capped action is kept as to repeats, and a repeat takes no number": Case(
        (T(0), A(HOUR - 2), A(HOUR - 1), A(HOUR - 1, HOUR), A(HOUR + 1)),
        {("a", "", 0): EXPOSED, ("a", "search", HOUR - BUCKET): acted(0), ("a", "search", HOUR): acted(1)},
        cap=1,
    ),
    "a cap of zero is none": Case(
        (T(0), *(A(n) for n in range(5))),
        {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0, 1, 2, 3, 4)},
        cap=0,
    ),
    # 5. Join
    #      A   T   A
    "an action before its trigger doesn't count, one at the same moment does": Case(
        (A(4), T(5), A(5)), {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0)}
    ),
    #      A at 0           T of 0, 10 s later
    "an activation may arrive join_delay after its action": Case(
        (A(0), T(0, 10 * SECOND)), {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0)}
    ),
    "an activation that arrives later than that comes too late for it": Case(
        (A(0), T(0, 10 * SECOND + 1)), {("a", "", 0): EXPOSED}
    ),
    #       [------------- period -------------)--- grace ---)
    #       T                                A A             (A)
    "an action counts until just before the period's end": Case(
        (T(0), A(END - 1), A(END)), {("a", "", 0): EXPOSED, ("a", "search", last_bucket(END)): acted(0)}
    ),
    "an action must arrive before the end of the grace": Case(
        (T(0), A(END - 1, CLOSED - 1), A(END - 2, CLOSED)),
        {("a", "", 0): EXPOSED, ("a", "search", last_bucket(END)): acted(0)},
    ),
    "an action on the edge belongs to the bucket that it opens": Case(
        (T(0), A(BUCKET - 1), A(BUCKET)),
        {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0), ("a", "search", BUCKET): acted(1)},
    ),
    #      arrives first: the action of 15 min; then the one of 1 ms
    "k follows order, not time": Case(
        (T(0), A(BUCKET), A(1, BUCKET + 1)),
        {("a", "", 0): EXPOSED, ("a", "search", BUCKET): acted(0), ("a", "search", 0): acted(1)},
    ),
    "each event has its own k": Case(
        (T(0), A(1), A(2, event="click"), A(3)),
        {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0, 1), ("a", "click", 0): acted(0)},
    ),
    "untracked events count nowhere": Case((T(0), A(1, event="scroll")), {("a", "", 0): EXPOSED}),
    # 6. Names
    "users are told apart byte for byte": Case(
        tuple(T(0, user=user) for user in ("u", "U", " u", "u ", "\u00fc", "u\u0308")),
        {("a", "", 0): (0, 0, 0, 6, 0)},
    ),
    "experiments, groups and events are told apart byte for byte too": Case(
        (
            *(T(0, experiment=name, user=name) for name in ("X", "x ", " x")),
            *(T(0, group=name, user=name) for name in ("A", "a ", " a")),
            T(1),
            *(A(2, event=name) for name in ("Search", "search ", " search", "se\u0301arch")),
        ),
        {("a", "", 0): EXPOSED},
    ),
    # Arrival
    #      1 min            9:58    10:00   10:08
    #                               scroll  T        its newest record is of 10 min, so A of 1 min arrives
    #      (A)------------->A                        at 9:58, and T just in time for it
    "a record that goes back further than out of order arrives at the watermark": Case(
        (A(10 * MINUTE, event="scroll"), A(MINUTE), T(MINUTE, 10 * MINUTE + 8 * SECOND)),
        {("a", "", 0): EXPOSED, ("a", "search", 0): acted(0)},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("count", ["plain", "columns", "oracle"])
def test_what_counts(case: Case, count: str) -> None:
    ways: dict[str, Callable[[Case], Cells]] = {
        "plain": by_plain,
        "columns": by_columns,
        "oracle": by_oracle,
    }
    assert ways[count](case) == case.cells


def arrival(record: T | A) -> int:
    return T0 + (record.at if record.arrives is None else record.arrives)


# -- The oracle: from the raw bytes


def by_oracle(case: Case) -> Cells:
    def raw(number: int, record: T | A) -> oracle.RawRecord:
        fields: dict[str, object] = {"user_id": record.user, "ts": T0 + record.at}
        if isinstance(record, A):
            fields["event"] = record.event
        else:
            fields |= {"experiment": record.experiment, "group": record.group}
        return oracle.RawRecord(0, number, arrival(record), b"", json.dumps(fields).encode())

    experiment = oracle.Experiment(
        "x", ("a", "b"), tuple(oracle.Allocation(group, p, T0 + at) for group, p, at in case.allocations)
    )
    result = oracle.recompute(
        [raw(i, r) for i, r in enumerate(case.records) if isinstance(r, A)],
        [raw(i, r) for i, r in enumerate(case.records) if isinstance(r, T)],
        [experiment],
        oracle.Rules(cap_per_hour=case.cap),
    )
    assert not result.dead
    return {
        (key[2], key[3], key[4] - T0): (c.volume, c.actors, c.sum_squares, c.exposures, c.multiple_exposures)
        for key, c in result.cells.items()
    }


# -- The core: acceptance and arrivals, then either state machine; activations first, as the hold-back has it


def by_plain(case: Case) -> Cells:
    users = PlainUsers(replace(RULES, cap_per_hour=case.cap))
    for step in steps(case):
        apply_plain(users, step)
    return shortened(counts_of(users.take_cells(), RULES.lg_k))


def by_columns(case: Case) -> Cells:
    users = ColumnarUsers(replace(RULES, cap_per_hour=case.cap))
    for step in steps(case):
        apply_columns(users, step)
    return shortened(counts_of_deltas(users.take_deltas()))


def shortened(counts: dict[tuple[str, int, str, str, int], tuple[list[int], list[int]]]) -> Cells:
    return {(key[2], key[3], key[4] - T0): tuple(found) for key, (found, _) in counts.items()}  # type: ignore[misc]


def steps(case: Case) -> Iterator[Step]:
    ramps = ramps_of([(group, p, T0 + at) for group, p, at in case.allocations])
    periods = [Period(*ends) for ends in periods_of([at_ms for _, at_ms in ramps], PERIOD)]
    known = Experiment("x", "a", ["a", "b"], periods, [Ramp(*ramp) for ramp in ramps], [])
    acceptance = Acceptance([known], as_of_ms=T0 + 1000 * HOUR, wait_ms=0, grace_ms=RULES.grace_ms)
    rows: defaultdict[type, list[Any]] = defaultdict(list)
    for kind in (T, A):
        records = [record for record in case.records if isinstance(record, kind)]
        arrived = arrivals_of(
            np.array([arrival(record) for record in records], np.int64),
            watermark_ms=0,
            now_ms=T0 + 1000 * HOUR,
            out_of_order_ms=2 * SECOND,
            markers_ms={},
        )
        for record, arrival_ms in zip(records, arrived.arrivals_ms.tolist(), strict=True):
            if isinstance(record, A):
                rows[A].append(Action(record.user, record.event, T0 + record.at, arrival_ms))
                continue
            accepted = acceptance.judge(record.experiment, record.group, T0 + record.at, arrival_ms)
            if isinstance(accepted, Accepted):
                name, group, start_ms, end_ms, _ = accepted
                rows[T].append(
                    Activation(record.user, name, group, start_ms, end_ms, T0 + record.at, arrival_ms)
                )
    yield Step(rows[T], 0, 0)
    yield Step(rows[A], 0, 0)

"""The generated stream and its truth, judged by the oracle, which recomputes the cells from the raw bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.oracle import cells as oracle

from rtexp.local.generator import Generator, Told
from rtexp.local.raw_records import partition_of
from rtexp.local.story import EXPERIMENTS, GROUPS, Story
from rtexp.local.truth import HOUR_MS, Action, Activation, Bad, Counts, Rules, Truth

START_MS = 1_420_416_000_000  # 2015-01-05T00:00Z
RULES = Rules(
    tracked=frozenset({"search", "click"}),
    cap_per_hour=40,
    max_message_bytes=65_536,
    period_ms=72 * HOUR_MS,
    bucket_ms=15 * 60_000,
    dedup_ms=5 * 60_000,
    join_delay_ms=10_000,
    grace_ms=HOUR_MS,
    max_ahead_ms=300_000,
)
STORY = Story(START_MS, RULES.period_ms)


def stream(
    seed: int = 1, cycles: int = 1, records: int = 10_000, rules: Rules = RULES, users: int = 400
) -> list[Told]:
    generator = Generator(STORY, rules, seed=seed, users=users, records_per_cycle=records)
    return [told for cycle in range(cycles) for told in generator.cycle(cycle)]


def truth_of(told: list[Told], rules: Rules = RULES) -> Truth:
    truth = Truth(rules, STORY)
    for record, meaning in told:
        truth.tell(record.kind, record.arrival_ms, meaning)
    truth.finish()
    return truth


def oracle_of(told: list[Told], cycles: int = 1, rules: Rules = RULES) -> oracle.Result:
    raw: dict[str, list[oracle.RawRecord]] = {"actions": [], "activations": []}
    for offset, (record, _) in enumerate(told):
        raw[record.kind].append(
            oracle.RawRecord(partition_of(record.key, 4), offset, record.arrival_ms, record.key, record.value)
        )
    allocations = [change for cycle in range(cycles) for change in STORY.allocations(cycle)]
    experiments = [
        oracle.Experiment(
            known.name,
            GROUPS,
            tuple(
                sorted(
                    (
                        oracle.Allocation(a.group, a.percent, a.at_ms)
                        for a in allocations
                        if a.experiment == known.name
                    ),
                    key=lambda allocation: allocation.at_ms,
                )
            ),
        )
        for known in EXPERIMENTS
    ]
    return oracle.recompute(
        raw["actions"],
        raw["activations"],
        experiments,
        oracle.Rules(
            tracked=rules.tracked, cap_per_hour=rules.cap_per_hour, join_delay_ms=rules.join_delay_ms
        ),
    )


@pytest.mark.parametrize(
    ("seed", "cycles", "rules"),
    [
        pytest.param(1, 1, RULES, id="one cycle"),
        pytest.param(2, 3, RULES, id="three cycles"),
        pytest.param(3, 1, replace(RULES, cap_per_hour=0, join_delay_ms=0), id="no cap and no join delay"),
    ],
)
def test_the_truth_is_what_the_oracle_recomputes_from_the_bytes(seed: int, cycles: int, rules: Rules) -> None:
    told = stream(seed, cycles, rules=rules)
    truth, recomputed = truth_of(told, rules), oracle_of(told, cycles, rules)
    assert {tuple(key): counts for key, counts in truth.cells().items()} == {
        key: Counts(c.volume, c.actors, c.sum_squares, c.exposures, c.multiple_exposures)
        for key, c in recomputed.cells.items()
    }
    assert {tuple(key): users for key, users in truth.users().items()} == {
        key: c.users for key, c in recomputed.cells.items()
    }
    reasons = {
        f"{kind}/{reason}": count for (kind, reason), count in (recomputed.dead + recomputed.dropped).items()
    }
    assert reasons.keys() - truth.reasons.keys() == set()
    assert {reason: truth.reasons[reason] for reason in reasons} == reasons
    assert truth.reasons.keys() == reasons.keys()


def test_records_come_in_order_of_arrival() -> None:
    arrivals = [told.record.arrival_ms for told in stream(cycles=2)]
    assert arrivals[0] >= START_MS
    assert all(earlier <= later for earlier, later in pairwise(arrivals))


def test_the_same_seed_gives_the_same_stream_and_another_seed_another() -> None:
    assert stream(seed=5, records=2000) == stream(seed=5, records=2000)
    assert stream(seed=5, records=2000) != stream(seed=6, records=2000)


def test_a_cycle_has_about_as_many_records_as_asked_for_evenly_spread() -> None:
    told = stream(records=60_000)
    assert 50_000 < len(told) < 70_000
    by_hour = Counter((t.record.arrival_ms - START_MS) // HOUR_MS for t in told)
    assert max(by_hour.values()) < 3 * len(told) / 80
    assert min(by_hour[hour] for hour in range(80)) > len(told) / 80 / 3


def test_everything_that_may_go_wrong_does() -> None:
    told = stream()
    truth = truth_of(told)
    assert set(truth.reasons) == {
        *(f"actions/{reason}" for reason in ("untracked", "repeat", "capped")),
        *(
            f"activations/{reason}"
            for reason in ("unknown-experiment", "unknown-group", "outside-period", "late-activation")
        ),
        *(
            f"{kind}/{reason}"
            for kind in ("actions", "activations")
            for reason in (
                "null-value",
                "too-large",
                "invalid-json",
                "wrong-type",
                "missing-field",
                "empty-field",
                "time-out-of-range",
            )
        ),
    }
    late = [
        t for t in told if isinstance(t.meaning, Action) and t.meaning.at_ms < t.record.arrival_ms - HOUR_MS
    ]
    assert late
    assert any(counts.multiple_exposures for counts in truth.cells().values())
    bad = sum(isinstance(t.meaning, Bad) for t in told)
    assert 0 < bad < len(told) * 0.05
    again = [key for key in truth.cells() if key.experiment == "second-try"]
    assert len({key.period_start_ms for key in again}) == 2


def test_users_of_all_experiments_are_triggered_again_and_again() -> None:
    activations = Counter(
        (t.meaning.user, t.meaning.experiment)
        for t in stream(records=60_000)
        if isinstance(t.meaning, Activation)
    )
    assert sorted(activations.values())[len(activations) // 2] > 3


def test_effects_can_be_seen() -> None:
    """Actions per exposed user, treatment against control: a gain, a drop; and users missing from a split."""
    cells = truth_of(stream(records=60_000, users=2000)).cells()
    exposures: Counter[tuple[str, str]] = Counter()
    volume: Counter[tuple[str, str]] = Counter()
    for key, counts in cells.items():
        exposures[key.experiment, key.group] += counts.exposures
        volume[key.experiment, key.group] += counts.volume

    def lift(experiment: str) -> float:
        control, treatment = ((experiment, "control"), (experiment, "treatment"))
        return volume[treatment] / exposures[treatment] / (volume[control] / exposures[control])

    assert lift("bolder-buttons") > 1.1
    assert lift("heavier-page") < 0.9
    assert exposures["broken-split", "treatment"] < 0.9 * exposures["broken-split", "control"]


def test_a_period_too_short_for_the_storys_ramps_is_refused() -> None:
    with pytest.raises(ValueError, match="12 hours"):
        Story(START_MS, HOUR_MS)

"""`results` and `alerts` as any reader of JSON sees them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.look_samples import START, WORKED, given, plan

from rtexp.errors import StateError, UnsupportedVersion
from rtexp.records.verdicts import Alert, decode_alert, encode_alert, encode_result, result_key
from rtexp.statistics.evaluation import Edge, PeriodEvaluator
from rtexp.store.looks import LookRow

if TYPE_CHECKING:
    from rtexp.statistics.looks import LookRecord


@pytest.fixture(scope="module")
def record() -> LookRecord:
    evaluator = PeriodEvaluator("feed", START, plan())
    outcome = [evaluator.look(one, evaluated_ms=7, version="v") for one in WORKED[:3]][-1]
    return outcome.records[0]


def test_a_result_has_the_columns_of_looks_and_its_version(record: LookRecord) -> None:
    found = json.loads(encode_result(record))
    assert found.pop("result_version") == 1
    assert tuple(found) == LookRow._fields[:-1], "in SQL a sequence follows"
    assert found == msgspec.structs.asdict(record)


def test_a_result_is_keyed_by_its_comparison_so_that_the_newest_look_stays(record: LookRecord) -> None:
    assert json.loads(result_key(record)) == ["feed", START, "search", "T", "propensity", "decision"]
    later = msgspec.structs.replace(record, look=4, effect=0.5)
    assert result_key(later) == result_key(record)


@pytest.mark.parametrize("name", ["experiment", "event", "group_name", "metric", "role", "period_start_ms"])
def test_comparisons_that_differ_in_one_name_have_keys_of_their_own(record: LookRecord, name: str) -> None:
    other: object = 5 if name == "period_start_ms" else '"],'
    assert result_key(msgspec.structs.replace(record, **{name: other})) != result_key(record)


def alert(kind: str, record: LookRecord, **of_plan: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(encode_alert(Edge(kind, record), plan(**of_plan)))
    return found


def test_an_alert_says_what_became_true_of_which_comparison(record: LookRecord) -> None:
    found = alert("significant_gain", record)
    assert (found["alert_version"], found["kind"], found["experiment"]) == (1, "significant_gain", "feed")
    assert (found["group"], found["event"], found["metric"]) == ("T", "search", "propensity")
    assert (found["look"], found["effect"], found["plan_hash"]) == (3, record.effect, record.plan_hash)


def test_an_alert_of_the_split_names_no_comparison(record: LookRecord) -> None:
    found = alert("srm", msgspec.structs.replace(record, srm_p=0.5, srm_first_p=0.0001))
    empty = (
        *("group", "event", "metric", "effect", "interval_low", "interval_high", "lift", "p_always_valid"),
        *("users_control", "users_treatment", "lift_low", "lift_high", "means"),
    )
    assert [found[name] for name in empty] == [None] * len(empty)
    assert found["srm_p"] == 0.0001


def test_the_same_fact_has_the_same_id_whenever_and_however_it_is_told(record: LookRecord) -> None:
    again = msgspec.structs.replace(record, look=4, evaluated_ms=9, effect=0.1, version="w")
    first = alert("guardrail", record)["id"]
    assert alert("guardrail", again)["id"] == first
    others = [
        alert("significant_gain", record)["id"],
        *(
            alert("guardrail", msgspec.structs.replace(record, **{name: "x"}))["id"]
            for name in ("experiment", "group_name", "event", "metric")
        ),
    ]
    assert len({first, *others}) == 6


def test_the_id_of_an_alarm_of_the_split_doesnt_hang_on_the_comparison_that_carries_it(
    record: LookRecord,
) -> None:
    other = msgspec.structs.replace(record, group_name="U", event="click")
    assert alert("srm", other)["id"] == alert("srm", record)["id"]


@pytest.mark.parametrize(
    ("kind", "good", "means"),
    [
        ("significant_gain", {"search": "up"}, "good"),
        ("significant_drop", {"search": "up"}, "bad"),
        ("significant_drop", {"search": "down"}, "good"),
        ("significant_drop", {}, None),
        ("guardrail", {}, "bad"),
    ],
)
def test_an_alert_says_what_the_change_means_by_the_direction_that_the_plan_declares(
    record: LookRecord, kind: str, good: dict[str, str], means: str | None
) -> None:
    assert alert(kind, record, good=good)["means"] == means


def test_an_alert_is_read_as_it_was_written_and_so_is_one_of_before(record: LookRecord) -> None:
    written = encode_alert(Edge("significant_gain", record), plan())
    assert encode_found(decode_alert(written)) == json.loads(written)
    fields = json.loads(written)
    for name in ("users_control", "users_treatment", "lift_low", "lift_high", "means"):
        del fields[name]
    assert decode_alert(json.dumps(fields).encode()).users_control is None


def encode_found(found: Alert) -> object:
    return json.loads(msgspec.json.encode(found))


def test_an_alert_of_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedVersion, match="alerts holds a record of version 2"):
        decode_alert(b'{"alert_version":2,"told":[]}')
    with pytest.raises(StateError, match="damaged"):
        decode_alert(b'{"alert_version":1}')


def test_what_isnt_computed_is_null() -> None:
    evaluator = PeriodEvaluator("feed", START, plan())
    empty = given(1, {"C": (0, {"search": (0, 0, 0)}), "T": (0, {"search": (0, 0, 0)})})
    (found, *_) = evaluator.look(empty, evaluated_ms=7, version="v").records
    assert b'"effect":null' in encode_result(found)

"""What may stand in a file of experiments, and what the message says when something else does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent, indent

import pytest

from rtexp.errors import UsageError
from rtexp.records.snapshot import Allocation
from rtexp.settings import Settings
from rtexp.store.definitions import Experiment, parse_definitions

EXAMPLE = Path(__file__).parents[3] / "examples" / "experiments.yaml"


def ms(*fields: int) -> int:
    return int(datetime(*fields, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


def experiment(body: str) -> str:
    """A file whose third experiment has ``body``; the first two are fine."""
    fine = "  - {name: first, control: c, groups: [c, t]}\n  - {name: second, control: c, groups: [c, t]}\n"
    return f"experiments:\n{fine}  -\n{indent(dedent(body), '    ')}"


def at(text: str) -> str:
    return experiment(
        f"name: feed\ncontrol: c\ngroups: [c, t]\nallocations:\n  - {{group: c, percent: 5, at: {text}}}\n"
    )


def parsed(text: str) -> list[Experiment]:
    return list(parse_definitions(text, Settings()).experiments)


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parsed(text)
    return str(caught.value)


def test_a_definition_becomes_a_value() -> None:
    text = """
    experiments:
      - name: new-feed
        control: control
        groups: [control, treatment]
        allocations:
          - {group: control,   percent: 5, at: 2023-11-14T00:00:00Z}
          - {group: treatment, percent: 7.5, at: 2023-11-14T00:00:00Z}
    """
    start = ms(2023, 11, 14)
    assert parsed(text) == [
        Experiment(
            "new-feed",
            "control",
            ("control", "treatment"),
            (Allocation("control", 5.0, start), Allocation("treatment", 7.5, start)),
        )
    ]


def test_the_example_of_the_project_is_a_definition() -> None:
    assert [item.name for item in parsed(EXAMPLE.read_text())] == ["new-feed", "ranking"]


def test_allocations_stand_in_order_of_time_and_at_the_same_time_in_that_of_the_file() -> None:
    text = experiment("""
        name: feed
        control: c
        groups: [c, t]
        allocations:
          - {group: t, percent: 9, at: 2023-11-15T00:00:00Z}
          - {group: t, percent: 5, at: 2023-11-14T00:00:00Z}
          - {group: c, percent: 5, at: 2023-11-14T00:00:00Z}
    """)
    order = [(a.group, a.percent) for a in parsed(text)[2].allocations]
    assert order == [("t", 5), ("c", 5), ("t", 9)]


def test_an_experiment_may_wait_for_its_first_allocation() -> None:
    assert parsed("experiments: [{name: a, control: c, groups: [c, t]}]")[0].allocations == ()


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        pytest.param("2023-11-14T09:30:00Z", ms(2023, 11, 14, 9, 30), id="a zone"),
        pytest.param("2023-11-14T09:30:00+05:30", ms(2023, 11, 14, 4), id="another zone"),
        pytest.param("2023-11-14T09:30:00", ms(2023, 11, 14, 9, 30), id="no zone is UTC"),
        pytest.param("2023-11-14 09:30:00", ms(2023, 11, 14, 9, 30), id="as YAML writes times"),
        pytest.param('"2023-11-14T09:30:00Z"', ms(2023, 11, 14, 9, 30), id="quoted"),
        pytest.param("2023-11-14", ms(2023, 11, 14), id="a date"),
        pytest.param("1969-12-31T23:59:59.9995Z", -1, id="rounded down before 1970 too"),
    ],
)
def test_times(text: str, expected_ms: int) -> None:
    assert parsed(at(text))[2].allocations[0].at_ms == expected_ms


BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(at("tomorrow"), "experiments[2].allocations[0].at: expected a time like", id="no time"),
        pytest.param(at("2023-02-30T00:00:00Z"), "experiments[2].allocations[0].at: expected a", id="no day"),
        pytest.param(
            at("1699920000"),
            "experiments[2].allocations[0].at: expected a time like 2023-11-14T00:00:00Z, found `1699920000`",
            id="seconds",
        ),
        pytest.param(
            experiment(
                "name: feed\ncontrol: c\ngroups: [c, t]\nallocations: [{group: c, percent: 101, at: x}]"
            ),
            "line 8: experiments[2].allocations[0].percent: expected at most 100, found `101`",
            id="too much",
        ),
        pytest.param(
            experiment(
                "name: feed\ncontrol: c\ngroups: [c, t]\nallocations: [{group: c, percent: .nan, at: x}]"
            ),
            "line 8: experiments[2].allocations[0].percent: expected at least 0, found `.nan`",
            id="not a number",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, t]\nallocations: [{group: c, percent: 5}]"),
            "line 8: experiments[2].allocations[0]: expected the key `at`, which is missing",
            id="no time at all",
        ),
        pytest.param(
            experiment(
                "name: feed\ncontrol: c\ngroups: [c, t]\nallocations: [{group: x, percent: 5, at: x}]"
            ),
            "experiments[2].allocations[0].group: expected one of the groups, found `x`",
            id="allocation of no group",
        ),
        pytest.param(
            experiment("""
                name: feed
                control: c
                groups: [c, t]
                allocations:
                  - {group: c, percent: 5, at: 2023-11-14}
                  - {group: c, percent: 6, at: 2023-11-14T00:00:00Z}
            """),
            "experiments[2].allocations[1]: `c, 1699920000000 ms` is there already",
            id="two percents at one time",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c]"),
            "experiments[2].groups: expected the control and at least one group to compare with it",
            id="nothing to compare with",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: x\ngroups: [c, t]"),
            "experiments[2].control: expected one of the groups, found `x`",
            id="control is no group",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: []"),
            "line 7: experiments[2].groups: expected a list of at least 1, found",
            id="no groups",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, t, c]"),
            "experiments[2].groups[2]: `c` is there already, as experiments[2].groups[0]",
            id="a group twice",
        ),
        pytest.param(
            experiment("name: first\ncontrol: c\ngroups: [c, t]"),
            "experiments[2]: `first` is there already, as experiments[0]",
            id="an experiment twice",
        ),
        pytest.param(
            experiment("name: ''\ncontrol: c\ngroups: [c, t]"),
            "experiments[2].name: expected 1 to 128 bytes of UTF-8, found 0",
            id="no name",
        ),
        pytest.param(
            experiment(f"name: {'é' * 64}e\ncontrol: c\ngroups: [c, t]"),
            "experiments[2].name: expected 1 to 128 bytes of UTF-8, found 129",
            id="too long in bytes",
        ),
        pytest.param(
            experiment('name: "\\ud800"\ncontrol: c\ngroups: [c, t]'),
            "experiments[2].name: expected text, found half of a surrogate pair",
            id="half a character",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, on]"),
            "line 7: experiments[2].groups[1]: expected text, found `on`, which YAML takes for true or false",
            id="YAML takes on for true",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, t]\nallocation: []"),
            "line 8: experiments[2].allocation: there is no such key; did you mean `allocations`?",
            id="misspelt key",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, t]\ngroups: [c, t]"),
            "line 8, column 5: `groups` is given twice",
            id="a key twice",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups:\n- c\n- 5"),
            "line 9: experiments[2].groups[1]: expected text, found `5`, which YAML takes for a number",
            id="a number as a name, on a line of its own",
        ),
        pytest.param(
            experiment("control: c\ngroups: [c, t]"),
            "line 5: experiments[2]: expected the key `name`, which is missing",
            id="no name at all",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, t]\nallocations: {group: c}"),
            "line 8: experiments[2].allocations: expected a list, found keys and values",
            id="no list",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, t]\nallocations: [5]"),
            "line 8: experiments[2].allocations[0]: expected keys and values, found `5`",
            id="no keys",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, t]\ngood: {5: up}"),
            "line 8: experiments[2].good: expected keys that are text",
            id="a key that is a number",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, t]\nalpha: 0.7"),
            "line 8: experiments[2].alpha: expected less than 0.5, found `0.7`",
            id="a key of [statistics]",
        ),
        pytest.param(
            experiment("name: feed\ncontrol: c\ngroups: [c, t]\ngood: {buy: up}"),
            "line 8: experiments[2].good: `buy` is not tracked",
            id="an untracked event",
        ),
        pytest.param(
            f"experiments: [{{name: a, control: g0, groups: [{', '.join(f'g{i}' for i in range(101))}]}}]",
            "line 1: experiments[0].groups: expected a list of at most 100",
            id="more groups than anyone compares",
        ),
        pytest.param(
            f"experiments: [{', '.join(['{}'] * 10_001)}]",
            "line 1: experiments: expected at most 10,000, found 10,001",
            id="more experiments than a snapshot holds",
        ),
        pytest.param("experiment: []", "line 1: experiment: there is no such key", id="a misspelt top"),
        pytest.param(
            "experiments: 5", "line 1: experiments: expected a list, found `5`", id="no list at the top"
        ),
        pytest.param("a: 1\n\nb: \x07", "line 3: not YAML: special characters", id="a control character"),
        pytest.param("a: [\n" * 5000, "nested too deeply", id="nested without end"),
        pytest.param("experiments: &a [*a]", "line 1, column 14: an alias of itself", id="a list in itself"),
        pytest.param(BOMB, "expected at most 500,000 values", id="aliases of aliases"),
        pytest.param(MERGE_BOMB, "expected at most 500,000 values", id="merges of merges"),
        pytest.param("experiments: [", "line 1, column 15: expected the node content", id="not YAML"),
        pytest.param("!!float x", "not YAML: could not convert string to float", id="a tag that lies"),
        pytest.param(
            "!!python/object/apply:os.system [x]", "could not determine a constructor", id="no code runs"
        ),
        pytest.param(
            "[]", "line 1: expected the key `experiments` at the top, found an empty list", id="a list"
        ),
        pytest.param("", "line 1: expected the key `experiments` at the top, found nothing", id="empty"),
    ],
)
def test_a_fault_is_refused_with_its_place_and_what_was_expected(text: str, message: str) -> None:
    assert message in refusal(text)


def test_a_name_of_128_bytes_is_the_longest() -> None:
    name = "é" * 64
    assert parsed(experiment(f"name: {name}\ncontrol: c\ngroups: [c, t]"))[2].name == name


def test_every_experiment_with_a_fault_is_told_in_a_line() -> None:
    text = """experiments:
  - {name: a, control: x, groups: [c, t]}
  - {name: b, control: c, groups: [c, t]}
  - name: c
    control: c
    groups: [c]
"""
    with pytest.raises(UsageError) as caught:
        parse_definitions(text, Settings(), "e.yaml")
    assert str(caught.value).splitlines() == [
        "e.yaml:2: experiments[0].control: expected one of the groups, found `x`",
        "e.yaml:6: experiments[2].groups: expected the control and at least one group to compare with it",
    ]


def test_of_very_many_faults_the_first_are_told() -> None:
    lines = refusal(f"experiments: [{', '.join(['5'] * 25)}]").splitlines()
    assert (len(lines), lines[-1]) == (21, "and 5 more")


def test_aliases_and_merges_save_people_from_repeating_themselves() -> None:
    text = """
    experiments:
      - &first {name: a, control: c, groups: &groups [c, t]}
      - {name: b, control: t, groups: *groups}
      - {<<: *first, name: d}
    """
    assert [(e.name, e.control, e.groups) for e in parsed(text)] == [
        ("a", "c", ("c", "t")),
        ("b", "t", ("c", "t")),
        ("d", "c", ("c", "t")),
    ]


def test_the_place_of_an_allocation_is_that_in_the_file_whatever_its_time() -> None:
    later, sooner = "{group: t, percent: 9, at: 2023-11-15}", "{group: t, percent: 5, at: 2023-11-14}"
    text = f"experiments:\n- name: a\n  control: c\n  groups: [c, t]\n  allocations:\n  - {later}\n  - {sooner}\n"
    found = parse_definitions(text, Settings(), "e.yaml")
    first = found.experiments[0].allocations[0]
    place = found.place("a", "allocations", first)
    assert (place, found.document.where(place)) == ("experiments[0].allocations[1]", "e.yaml:7")

"""`rtexp experiments load`."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copy

import pytest
from tests.unit.commands.command_line import CommandLine
from tests.unit.statistics.plan_samples import plan
from tests.unit.store.databases import SqliteFile, look_row, open_database

from rtexp.statistics.plans import decoded, plan_hash
from rtexp.store.engine import writing
from rtexp.store.looks import upsert_looks
from rtexp.store.plans import freeze_plans
from rtexp.store.yaml_places import MOST_BYTES

EXAMPLE = Path(__file__).parents[3] / "examples" / "experiments.yaml"
START = 1_699_920_000_000


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    copy(EXAMPLE, tmp_path / "e.yaml")
    return CommandLine(tmp_path, monkeypatch, capfd)


def test_the_example_is_added_once(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    assert rtexp("experiments", "load", "e.yaml") == (
        0,
        "added: 2 experiments, 5 groups, 8 allocations\nset: plans of new-feed\n",
        "",
    )
    assert rtexp("experiments", "load", "e.yaml") == (
        0,
        "added: 0 experiments, 0 groups, 0 allocations\n",
        "",
    )


def test_programs_get_json(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    loaded = json.loads(rtexp("experiments", "load", "e.yaml", "--json").out)
    assert loaded == {"experiments": 2, "groups": 5, "allocations": 8, "plans": ["new-feed"], "frozen": []}


def test_a_fault_is_one_line_with_the_file_and_the_place(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    Path("e.yaml").write_text("experiments: [{name: 5, control: c, groups: [c]}]")
    what = "expected text, found `5`, which YAML takes for a number: put it in quotes"
    assert rtexp("experiments", "load", "e.yaml") == (
        2,
        "",
        f"rtexp: e.yaml:1: experiments[0].name: {what}\n",
    )


def test_a_contradiction_is_refused(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    rtexp("experiments", "load", "e.yaml")
    Path("e.yaml").write_text(EXAMPLE.read_text().replace("percent: 20", "percent: 30"))
    ended = rtexp("experiments", "load", "e.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert (
        "e.yaml:27: experiments[1].allocations[3]: experiment `ranking`: allocations gives `fresh` 30"
        in ended.err
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(
            "control: current", "control: fresh", "e.yaml:21: experiments[1].control: ", id="control"
        ),
        pytest.param(
            "groups: [control, treatment]",
            "groups: [control, new]",
            "e.yaml:6: experiments[0].groups: ",
            id="groups",
        ),
        pytest.param(
            "2023-11-15T08:00:00+01:00",
            "2023-11-13T08:00:00+01:00",
            "e.yaml:27: experiments[1].allocations[3]: ",
            id="a moved period",
        ),
        pytest.param(
            "percent: 20,", "percent: 30,", "e.yaml:27: experiments[1].allocations[3]: ", id="a percent"
        ),
    ],
)
def test_what_contradicts_the_database_is_told_by_its_line(
    rtexp: CommandLine, old: str, new: str, told: str
) -> None:
    rtexp("db", "upgrade")
    rtexp("experiments", "load", "e.yaml")
    text = EXAMPLE.read_text()
    assert old in text
    text = text.replace(old, new)
    if "new]" in new:
        text = text.replace("{group: treatment", "{group: new")
    Path("e.yaml").write_text(text)
    ended = rtexp("experiments", "load", "e.yaml")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(f"rtexp: {told}experiment `")


def test_a_file_that_is_no_text_is_refused(rtexp: CommandLine) -> None:
    Path("e.yaml").write_bytes(b"experiments: \xff")
    assert rtexp("experiments", "load", "e.yaml") == (2, "", "rtexp: e.yaml: not UTF-8 (at byte 13)\n")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(rtexp: CommandLine) -> None:
    Path("e.yaml").write_text("#" * (MOST_BYTES + 1))
    assert rtexp("experiments", "load", "e.yaml") == (
        2,
        "",
        "rtexp: e.yaml: expected at most 4 MiB: split the file\n",
    )


def test_a_file_that_is_not_there_is_wrong_usage(rtexp: CommandLine) -> None:
    ended = rtexp("experiments", "load", "missing.yaml")
    assert ended.code == 2
    assert "missing.yaml" in ended.err


def test_a_database_without_tables_says_what_to_run(rtexp: CommandLine) -> None:
    ended = rtexp("experiments", "load", "e.yaml")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "run `rtexp db upgrade`" in ended.err


PLANNED = """
experiments:
  - name: feed
    control: c
    groups: [c, t]
    allocations:
      - {group: c, percent: 5, at: 2023-11-14T00:00:00Z}
      - {group: t, percent: PERCENT, at: 2023-11-14T00:00:00Z}
    PLAN
"""


def define(plan: str, percent: int = 5) -> None:
    Path("e.yaml").write_text(PLANNED.replace("PLAN", plan).replace("PERCENT", str(percent)))


def freeze(rtexp: CommandLine) -> None:
    with open_database(SqliteFile(rtexp.database)) as engine, writing(engine) as connection:
        freeze_plans(connection, [("feed", START, plan(control="c", treatments=["t"]))])
        upsert_looks(
            connection,
            [
                look_row(group="t", period_start_ms=START),
                look_row(group="t", event="click", period_start_ms=START, reason="too_few_users"),
            ],
        )


def test_a_plan_that_changes_before_a_period_is_frozen_is_set_without_more_words(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    define("alpha: 0.01")
    assert rtexp("experiments", "load", "e.yaml").out.splitlines()[1:] == ["set: plans of feed"]
    assert rtexp("experiments", "load", "e.yaml").out.splitlines()[1:] == []
    define("alpha: 0.02")
    assert rtexp("experiments", "load", "e.yaml").out.splitlines()[1:] == ["set: plans of feed"]


def test_a_period_that_keeps_its_plan_is_told(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    define("alpha: 0.01")
    rtexp("experiments", "load", "e.yaml")
    freeze(rtexp)
    define("alpha: 0.02")
    loaded = json.loads(rtexp("experiments", "load", "e.yaml", "--json").out)
    assert loaded["frozen"] == [{"experiment": "feed", "period_start_ms": START}]
    define("")
    assert rtexp("experiments", "load", "e.yaml").out.splitlines()[1:] == [
        "set: plans of feed",
        (
            "feed: the period that began at 2023-11-14T00:00:00Z keeps the plan that it began with; "
            "the new one holds from the next period on"
        ),
    ]


def test_a_plan_that_contradicts_itself_is_refused_with_file_and_place(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    define("alpha: 0.7")
    assert rtexp("experiments", "load", "e.yaml") == (
        2,
        "",
        "rtexp: e.yaml:9: experiments[0].alpha: expected less than 0.5, found `0.7`\n",
    )


def test_gamblers_ruin_on_unequal_groups_is_refused_and_nothing_is_stored(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtexp("db", "upgrade")
    monkeypatch.setenv("RTEXP_PIPELINE__CLOCK", "records")  # else the period has long ended, and nobody minds
    define("method: gamblers-ruin", percent=10)
    ended = rtexp("experiments", "load", "e.yaml")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert (
        "e.yaml:9: experiments[0].method: experiment `feed`: gamblers-ruin needs groups of the same size"
        in ended.err
    )
    assert rtexp("experiments", "show", "feed").code == 2
    define("method: gamblers-ruin")
    assert rtexp("experiments", "load", "e.yaml").code == 0


def test_groups_that_became_unequal_in_a_frozen_period_are_no_reason_to_refuse_the_next_file(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtexp("db", "upgrade")
    monkeypatch.setenv("RTEXP_PIPELINE__CLOCK", "records")
    define("", percent=10)
    rtexp("experiments", "load", "e.yaml")
    freeze(rtexp)
    define("method: gamblers-ruin", percent=10)
    assert rtexp("experiments", "load", "e.yaml").code == 0


def test_an_experiment_is_shown_with_its_plan_history_and_states(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    define("alpha: 0.01")
    rtexp("experiments", "load", "e.yaml")
    freeze(rtexp)
    ended = rtexp("experiments", "show", "feed")
    assert (ended.code, ended.err) == (0, "")
    hash_ = plan_hash(plan(control="c", treatments=["t"]))
    assert ended.out == (
        "feed: t compared with c\n"
        "\n"
        'own plan: {"statistics":{"alpha":0.01}}\n'
        "\n"
        "at                    group  allocated\n"
        "2023-11-14T00:00:00Z  c      5 %        ramp\n"
        "2023-11-14T00:00:00Z  t      5 %        ramp\n"
        "\n"
        "period 2023-11-14T00:00:00Z to 2023-11-17T00:00:00Z, ended\n"
        f"plan {hash_}: alpha-spending, alpha 0.05, 72 looks, obf spending\n"
        "decides: search propensity; guardrails: click volume drop; planned shares: control 50 %, treatment 50 %\n"
        "look 54, as of 2023-11-16T06:00:00Z\n"
        "group  event   metric      role      state\n"
        "t      click   propensity  decision  significant_gain  too_few_users\n"
        "t      search  propensity  decision  significant_gain\n"
    )


def test_programs_get_the_experiment_with_its_whole_plan(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    define("alpha: 0.01")
    rtexp("experiments", "load", "e.yaml")
    freeze(rtexp)
    shown = json.loads(rtexp("experiments", "show", "feed", "--json").out)
    assert shown["allocations"][1] == {"group": "t", "percent": 5, "at_ms": START}
    assert shown["plan"] == {"statistics": {"alpha": 0.01}}
    (period,) = shown["periods"]
    assert (period["start_ms"], period["end_ms"]) == (START, START + 72 * 3_600_000)
    assert decoded(json.dumps(period["plan"]).encode()) == plan(control="c", treatments=["t"])
    assert [look["event"] for look in period["looks"]] == ["click", "search"]


def test_an_experiment_without_looks_is_shown_with_the_time_of_its_first(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    define("alpha: 0.01")
    rtexp("experiments", "load", "e.yaml")
    assert rtexp("experiments", "show", "feed").out.splitlines()[-1] == "no looks yet"  # without a plan
    with open_database(SqliteFile(rtexp.database)) as engine, writing(engine) as connection:
        freeze_plans(connection, [("feed", START, plan(control="c", treatments=["t"]))])
    said = rtexp("experiments", "show", "feed").out.splitlines()[-1]
    assert said == "no looks yet: the first is as of 2023-11-14T01:00:00Z"


def test_an_experiment_that_waits_for_its_first_period_is_shown(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    Path("e.yaml").write_text("experiments: [{name: feed, control: c, groups: [c, t]}]")
    rtexp("experiments", "load", "e.yaml")
    assert rtexp("experiments", "show", "feed").out == (
        "feed: t compared with c\n\nown plan: none, so [statistics] holds\n\nno allocations yet\n"
    )


def test_an_experiment_that_nobody_defined_is_wrong_usage(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    ended = rtexp("experiments", "show", "feed")
    assert ended == (
        2,
        "",
        "rtexp: there is no experiment `feed`: none is defined; `rtexp experiments load` adds some\n",
    )


ALLOCATED = """
experiments:
  - name: "new\\efeed"
    control: c
    groups: [t, c]
    allocations:
      - {group: c, percent: 5, at: 2023-11-14T00:00:00Z}
      - {group: t, percent: 5, at: 2023-11-14T00:00:00Z}
      - {group: t, percent: 7.5, at: 2023-11-15T00:00:00Z}
      - {group: t, percent: 50, at: 2123-11-15T00:00:00Z}
  - {name: idle, control: c, groups: [c, t]}
  - {name: ahead, control: c, groups: [c, t], allocations: [{group: t, percent: 5, at: 2123-11-14T00:00:00Z}]}
"""


def test_all_experiments_are_listed_as_they_are_now(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    assert rtexp("experiments", "list") == (0, "no experiments yet: `rtexp experiments load` adds some\n", "")
    Path("e.yaml").write_text(ALLOCATED)
    rtexp("experiments", "load", "e.yaml")
    assert rtexp("experiments", "list").out.splitlines() == [
        "experiment   control  allocated now   newest period                periods  from",
        "new\\x1bfeed  c        c 5 %, t 7.5 %  ended 2023-11-17T00:00:00Z   2        file",
        "idle         c        c 0 %, t 0 %    none yet                     0        file",
        "ahead        c        c 0 %, t 0 %    begins 2123-11-14T00:00:00Z  1        file",
    ]


def test_programs_get_the_list_with_all_periods(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    Path("e.yaml").write_text(ALLOCATED)
    rtexp("experiments", "load", "e.yaml")
    listed = json.loads(rtexp("experiments", "list", "--json").out)
    first = listed.pop("experiments")[0]
    assert listed == {"refused": [], "query_error": None}
    assert first["allocated"] == {"c": 5, "t": 7.5}
    assert [period["state"] for period in first["periods"]] == ["ended", "to come"]
    assert first["periods"][0]["start_ms"] == START


def ask(monkeypatch: pytest.MonkeyPatch, rows: str) -> None:
    names = ("experiment", "group_name", "control", "percent", "changed_at")
    columns = ", ".join(f"column{i} AS {name}" for i, name in enumerate(names, 1))
    monkeypatch.setenv("RTEXP_METADATA__QUERY", f"SELECT {columns} FROM (VALUES {rows})")


def test_the_list_says_what_of_a_query_is_refused(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtexp("db", "upgrade")
    define("")
    rtexp("experiments", "load", "e.yaml")
    ask(
        monkeypatch, f"('feed', 'c', 'c', 6, {START}), ('feed', 't', 'c', 5, {START}), (NULL, 't', 'c', 5, 1)"
    )
    ended = rtexp("experiments", "list")
    assert (ended.code, ended.out.splitlines()[1].split()[-1]) == (1, "query")
    assert ended.err.splitlines() == [
        (
            "refused: row 1 of the query, experiment `feed`: allocations gives `c` 6 percent at 1699920000000 ms, "
            "rtexp's tables have 5: history can't change; add a later allocation"
        ),
        "refused: row 3 of the query, nobody's: experiment: expected text, found NULL",
        "rtexp: 2 of the experiments that [metadata] query yields can't be taken over as they are",
    ]
    listed = json.loads(rtexp("experiments", "list", "--json").out)
    assert [refusal["row"] for refusal in listed["refused"]] == [1, 3]


def test_the_list_says_that_a_query_fails_and_what_is_known_all_the_same(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtexp("db", "upgrade")
    define("")
    rtexp("experiments", "load", "e.yaml")
    monkeypatch.setenv("RTEXP_METADATA__QUERY", "SELECT * FROM gone")
    ended = rtexp("experiments", "list")
    assert (ended.code, len(ended.out.splitlines())) == (1, 2)
    assert ended.out.splitlines()[1].endswith("  not known")
    place = f"sqlite:///{rtexp.database}"
    assert ended.err == f"rtexp: [metadata] query failed in {place}: no such table: gone\n"
    listed = json.loads(rtexp("experiments", "list", "--json").out)
    assert listed["query_error"]
    assert listed["experiments"][0]["from"] is None


def test_a_query_may_be_tried_before_any_worker_runs(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtexp("db", "upgrade")
    ask(monkeypatch, f"('feed', 'c', 'c', 5, {START}), ('feed', 't', 'c', 5, {START})")
    assert rtexp("experiments", "list") == (
        0,
        "no experiments yet: [metadata] query yields 1, which a results worker takes over once they have begun\n",
        "",
    )


@pytest.mark.parametrize(
    ("arguments", "example"),
    [
        (("experiments",), "Example: rtexp experiments load experiments.yaml"),
        (("experiments", "load"), "Example: rtexp experiments load experiments.yaml"),
        (("experiments", "list"), "Example: rtexp experiments list"),
        (("experiments", "show"), "Example: rtexp experiments show new-feed"),
    ],
)
def test_help_ends_with_an_example(rtexp: CommandLine, arguments: tuple[str, ...], example: str) -> None:
    ended = rtexp(*arguments, "--help")
    assert ended.code == 0
    assert example in ended.out

"""Count a real, finished A/B test from raw events, and compare totals and verdicts with what is known of it.

The data set is Cookie Cats: a CSV with a line per player (`userid`, `version`, `sum_gamerounds`, `retention_1`,
`retention_7`). It has no events, so this script makes them: one activation a player, `game_round` as often as the
player has rounds, and `retention_1` and `retention_7` where the player came back. Then it starts rtexp in the
output directory, replays the events, waits until all are counted, adds up the cells, and prints the results. The
test is judged in four ways, each an experiment of its own with the same users.

    python examples/public_data_set.py cookie_cats.csv out --golden

Results go to SQLite in that directory, or to an empty database elsewhere: --store mysql+pymysql://user@host/name.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from public_data_goldens import CONTROL, TOTALS, TREATMENT, Total, differing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXPERIMENT = "gate"
"""The one that is judged at one look, after 72 hours."""
JUDGED = {
    EXPERIMENT: """\
    method: bonferroni
    bonferroni_looks: 1
    decision: [{event: retention_1, metric: propensity}]
""",
    "gate-of-12": """\
    method: bonferroni
    bonferroni_looks: 12
    decision: [{event: retention_7, metric: propensity}]
""",
    "gate-day-1": """\
    method: confidence-sequence
    look_every_hours: 72
    expected_users: 90189
    srm_prior: 100
    decision: [{event: retention_1, metric: propensity}]
""",
    "gate-day-7": """\
    method: confidence-sequence
    look_every_hours: 72
    expected_users: 90189
    srm_prior: 10000
    decision: [{event: retention_7, metric: propensity}]
""",
}
"""Plans by experiment. One metric decides in each: several would have to share the error."""
GAME_ROUND = "game_round"
EVENTS = (GAME_ROUND, "retention_1", "retention_7")

RAMP_MS = 1_400_000_000_000
RAMP = "2014-05-13T16:53:20Z"
HOUR_MS = 3_600_000
ROUNDS_MS = RAMP_MS + HOUR_MS
"""Everyone's first round; the next ones follow second by second, so that no two of a player look like a repeat."""
RETENTION_MS = {"retention_1": RAMP_MS + 24 * HOUR_MS, "retention_7": RAMP_MS + 48 * HOUR_MS}
MOST_ROUNDS = 20 * 3600

CONFIG = """\
[kafka]
brokers = ["{broker}"]
prefix = "{prefix}"
partitions = 4

[store]
{store}

[actions]
topic = "{prefix}-actions"
tracked = ["game_round", "retention_1", "retention_7"]
cap_per_hour = 0

[activations]
topic = "{prefix}-activations"

[pipeline]
clock = "records"

[data]
directory = "{directory}/data"
"""

EXPERIMENTS = "experiments:\n" + "".join(
    f"""\
  - name: {name}
    control: {CONTROL}
    groups: [{CONTROL}, {TREATMENT}]
    allocations:
      - {{group: {CONTROL}, percent: 50, at: {RAMP}}}
      - {{group: {TREATMENT}, percent: 50, at: {RAMP}}}
{plan}"""
    for name, plan in JUDGED.items()
)


@dataclass(frozen=True, slots=True)
class Player:
    """A line of the table."""

    user: str
    group: str
    rounds: int
    returned: frozenset[str]


def main() -> int:
    """Run it all; 1 if the totals aren't the golden ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path, help="the data set")
    parser.add_argument("directory", type=Path, help="where events, configuration and results go")
    parser.add_argument("--broker", default="127.0.0.1:9092", help="started there if none answers")
    parser.add_argument(
        "--store", metavar="URL", help="an empty database, instead of SQLite in the directory"
    )
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="holds the password of --store")
    parser.add_argument("--prefix", default="cookie-cats", help="of the topics")
    parser.add_argument(
        "--golden", action="store_true", help="fail unless totals and figures are those of the data set"
    )
    arguments = parser.parse_args()
    if not arguments.csv.is_file():
        parser.error(f"there is no file {arguments.csv}")
    directory = arguments.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    store = store_settings(arguments.store or f"sqlite:///{directory}/rtexp.db", arguments.password_file)
    config = CONFIG.format(broker=arguments.broker, prefix=arguments.prefix, directory=directory, store=store)
    write_inputs(read_players(arguments.csv), directory, config)
    say("events written", started)
    with Running(directory):
        rtexp(directory, *REPLAY, *(f"{option}={directory / name}" for option, name in INPUTS.items()))
        say("replayed", started)
        rtexp(directory, "wait", "--timeout", "600")
        say("counted", started)
        cells = rtexp(directory, "export", "cells", "--format", "csv", "--experiment", EXPERIMENT)
        table, results = (rtexp(directory, "results", "--format", form) for form in ("table", "json"))
    totals = add_up(csv.DictReader(cells.splitlines()))
    print_totals(totals)
    print(table, end="")
    (directory / "results.json").write_text(results, encoding="utf-8")
    return compare(totals, json.loads(results)) if arguments.golden else 0


def compare(totals: dict[tuple[str, str], Total], results: list[dict[str, Any]]) -> int:
    """Print what differs from the data set's figures; 1 if anything does."""
    wrong = {key for key in TOTALS.keys() | totals.keys() if TOTALS.get(key) != totals.get(key)}
    print(f"{len(wrong)} of {len(TOTALS)} lines differ from the golden totals")
    lines = differing(results)
    print("\n".join([*lines, f"{len(lines)} figures of the results differ from the golden ones"]))
    return 1 if wrong or lines else 0


REPLAY = ("replay", "--final")
INPUTS = {
    "--experiments": "experiments.yaml",
    "--activations": "activations.jsonl",
    "--actions": "actions.jsonl",
}


def say(what: str, started: float) -> None:
    """Print how long it has taken up to here."""
    print(f"{what} after {time.monotonic() - started:.1f} s", flush=True)


# --- From the table to events


def read_players(path: Path) -> list[Player]:
    """Read the table."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Player(
                line["userid"],
                line["version"],
                int(line["sum_gamerounds"]),
                frozenset(event for event in RETENTION_MS if line[event] == "TRUE"),
            )
            for line in csv.DictReader(file)
        ]


def store_settings(url: str, password_file: Path | None) -> str:
    """Return the lines of [store]; JSON writes a text as TOML does."""
    lines = [f"url = {json.dumps(url)}"]
    if password_file is not None:
        lines.append(f"password_file = {json.dumps(str(password_file.resolve()))}")
    return "\n".join(lines)


def write_inputs(players: Sequence[Player], directory: Path, config: str) -> None:
    """Write events in order of time, the experiments and the configuration."""
    if max(player.rounds for player in players) > MOST_ROUNDS:
        raise SystemExit(
            f"a player has more than {MOST_ROUNDS} rounds, which don't fit between the ramp and day 1"
        )
    (directory / "rtexp.toml").write_text(config, encoding="utf-8")
    (directory / "experiments.yaml").write_text(EXPERIMENTS, encoding="utf-8")
    with (directory / "activations.jsonl").open("wb") as file:
        file.writelines(activations(players))
    with (directory / "actions.jsonl").open("wb") as file:
        file.writelines(actions(players))


def activations(players: Sequence[Player]) -> Iterator[bytes]:
    """Yield a line of JSON a player and experiment."""
    for number, player in enumerate(players):
        for experiment in JUDGED:
            fields = {
                "user_id": player.user,
                "experiment": experiment,
                "group": player.group,
                "ts": RAMP_MS + number,
            }
            yield json.dumps(fields).encode() + b"\n"


def actions(players: Sequence[Player]) -> Iterator[bytes]:
    """Yield the lines of each moment: who plays a first round, a second, ...; then who came back."""
    by_rounds = sorted(players, key=lambda player: -player.rounds)
    prefixes = [_prefix(player, GAME_ROUND) for player in by_rounds]
    playing = len(by_rounds)
    for number in range(by_rounds[0].rounds):
        while by_rounds[playing - 1].rounds <= number:
            playing -= 1
        # 4.7 million lines: most of each is made once a player, the rest once a second.
        suffix = b"%d}\n" % (ROUNDS_MS + number * 1000)
        yield suffix.join(prefixes[:playing]) + suffix
    for event, at_ms in RETENTION_MS.items():
        for player in players:
            if event in player.returned:
                yield _prefix(player, event) + b"%d}\n" % at_ms


def _prefix(player: Player, event: str) -> bytes:
    return json.dumps({"user_id": player.user, "event": event, "ts": 0}).encode().removesuffix(b"0}")


# --- rtexp


def rtexp(directory: Path, *arguments: str) -> str:
    """Run a command with the configuration of the directory, and return its output; a failure ends the script."""
    command = _command(directory, *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise SystemExit(f"rtexp {arguments[0]} failed with exit code {done.returncode}")
    return done.stdout


def _command(directory: Path, *arguments: str) -> list[str]:
    program = Path(sys.executable).with_name("rtexp")
    return [str(program), "--config", str(directory / "rtexp.toml"), *arguments]


class Running:
    """`rtexp up` for the time of a ``with`` block, which begins when everything was started."""

    def __init__(self, directory: Path) -> None:
        """Log to ``up.log`` in the directory."""
        self._log = directory / "up.log"
        self._command = _command(directory, "up")
        self._started = threading.Event()

    def __enter__(self) -> Self:
        """Start it; a failure ends the script."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert self._process.stdout is not None
        self._copying = threading.Thread(target=self._copy, args=(self._process.stdout,))
        self._copying.start()
        self._started.wait()
        if self._process.poll() is not None:
            raise SystemExit(f"rtexp up ended by itself: see {self._log}")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, and wait until everything has stopped."""
        self._process.terminate()
        self._copying.join()
        self._process.wait()

    def _copy(self, lines: IO[str]) -> None:
        with self._log.open("w", encoding="utf-8") as log:
            for line in lines:
                log.write(line)
                if "running; Ctrl-C stops" in line:
                    self._started.set()
        self._process.wait()
        self._started.set()  # it may have failed before


# --- Totals


def add_up(rows: Iterator[dict[str, str]] | csv.DictReader[str]) -> dict[tuple[str, str], Total]:
    """Add up the buckets of each group and event."""
    exposures: Counter[str] = Counter()
    sums: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        if row["event"] == "":
            exposures[row["group_name"]] += int(row["exposures"])
            continue
        cell = sums.setdefault((row["group_name"], row["event"]), Counter())
        for column in ("volume", "sum_squares", "actors"):
            cell[column] += int(row[column])
    return {
        key: Total(exposures[key[0]], cell["volume"], cell["sum_squares"], cell["actors"])
        for key, cell in sums.items()
    }


def print_totals(totals: dict[tuple[str, str], Total]) -> None:
    """Print a line per group and event."""
    print(f"{'event':<12} {'group':<8} {'exposures':>10} {'volume':>10} {'sum of squares':>15} {'actors':>8}")
    for (group, event), total in sorted(totals.items(), key=lambda item: (item[0][1], item[0][0])):
        exposures, volume, sum_squares, actors = total
        print(f"{event:<12} {group:<8} {exposures:>10,} {volume:>10,} {sum_squares:>15,} {actors:>8,}")


if __name__ == "__main__":
    raise SystemExit(main())

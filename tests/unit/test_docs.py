"""What the documents say exists: commands, options, make targets, links, settings, decisions."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.documents import configuration
from tests.documents.commands import walk
from tests.documents.pages import PAGES as GENERATED
from tests.unit.typed_commands import resolve

from rtexp import __version__
from rtexp.cli import cli
from rtexp.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
RECORDS = sorted(DECISIONS.glob("[0-9]*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "bench" / "peers" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]
COMPOSE = ROOT / "compose.yaml"
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
INNER_TARGETS = {"venv", "kafka", "mariadb", "chromium"}
"""Parts of `setup` and `integration`, which nobody needs to type."""

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_lines(text: str) -> Iterator[str]:
    """Yield the lines of shell blocks, continued ones joined, and the code within sentences."""
    for language, block in FENCE.findall(text):
        if language == "sh":
            yield from block.replace("\\\n", " ").splitlines()
    yield from (code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", FENCE.sub("", text)))


def commands(program: str) -> list[list[str]]:
    """Return what the documents tell readers to type, as words after ``program``, comments left out."""
    lines = [line for page in PAGES for line in code_lines(page.read_text())]
    lines += re.findall(r"sh -c \"(.+)\"", COMPOSE.read_text())
    typed = [part for line in lines for part in line.split("&&")]
    return [
        shlex.split(rest, comments=True) for line in typed for rest in re.findall(rf"^ *{program} (.+)", line)
    ]


def rtexp_commands() -> list[list[str]]:
    return [words for words in commands("rtexp") if words[0][0] != "-"]


def as_written(words: list[str]) -> str:
    return " ".join(words)


@pytest.mark.parametrize("words", rtexp_commands(), ids=as_written)
def test_a_documented_command_exists_with_its_options(words: list[str]) -> None:
    known = {option for param in resolve(words).params for option in param.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("name", [name for name, _ in walk(cli)])
def test_a_command_is_named_in_the_documents(name: str) -> None:
    assert any(words[: name.count(" ") + 1] == name.split() for words in rtexp_commands())


@pytest.mark.parametrize("page", GENERATED, ids=relative)
def test_a_page_that_is_made_from_the_code_says_what_the_code_says(page: Path) -> None:
    """After a change: make docs."""
    assert page.read_text() == GENERATED[page]()


KEYS = set(configuration.keys())


@pytest.mark.parametrize(("section", "key"), sorted(KEYS))
def test_a_key_is_explained_in_the_documents_with_its_variable(section: str, key: str) -> None:
    (title, _, table) = (ROOT / "docs" / "configuration.md").read_text().partition(f"\n## [{section}]\n")
    assert title
    assert f"\n| `{key}`<br>`{variable(section, key)}` |" in table.partition("\n## ")[0]


def variable(section: str, key: str) -> str:
    return f"RTEXP_{section}__{key}".upper()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_keys_and_variables_in_the_documents_are_settings(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`\[(\w+)\]\s+(\w+)", text)) <= KEYS
    assert set(re.findall(r"RTEXP_[A-Z]+__[A-Z_]+", text)) <= {variable(*each) for each in KEYS}


def documented_apps() -> list[str]:
    texts = [path.read_text() for path in (*PAGES, COMPOSE, ROOT / "Dockerfile")]
    return sorted({name for text in texts for name in re.findall(r"-A (rtexp[\w.]*)", text)})


@pytest.mark.parametrize("name", documented_apps())
def test_a_documented_worker_exists(name: str) -> None:
    assert importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("words", commands("make"), ids=as_written)
def test_a_documented_make_target_exists(words: list[str]) -> None:
    target, *variables = words
    assert target in TARGETS
    for variable in variables:
        assert re.search(rf"^{variable.partition('=')[0]} \?=", MAKEFILE, re.MULTILINE)


def test_every_make_target_has_help() -> None:
    assert set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.MULTILINE)) == TARGETS - INNER_TARGETS


def test_the_first_make_target_is_the_help() -> None:
    assert re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)[0] == "help"


def test_no_make_target_is_taken_for_a_file() -> None:
    joined = MAKEFILE.replace("\\\n", " ")
    assert set(re.findall(r"^\.PHONY: (.*)$", joined, re.MULTILINE)[0].split()) == TARGETS


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_within_the_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_settings_in_the_documents_are_settings(page: Path, tmp_path: Path) -> None:
    blocks = [block for language, block in FENCE.findall(page.read_text()) if language == "toml"]
    assert blocks or page.name != "README.md" or page.parent != ROOT
    for block in blocks:
        path = tmp_path / "rtexp.toml"
        path.write_text(block)
        load(path, {})


def test_numbers_of_decisions_are_unique() -> None:
    numbers = [path.name[:4] for path in RECORDS]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_decision_says_what_was_rejected_and_what_follows(record: Path) -> None:
    text = record.read_text()
    assert text.startswith(f"# {record.name[:4]} ")
    assert re.search(r"^Status: (accepted|superseded by \[\d{4}\])", text, re.MULTILINE)
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sections == ["Context", "Decision", "Rejected", "Consequences"]


def test_this_version_stands_in_the_release_notes() -> None:
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()

"""YAML text with the place of everything in it, so that a fault is shown by its line; and only so much of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from rtexp.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 4 << 20
"""Of a file. That much takes half a minute to read."""
MOST_NODES = 500_000
"""Of lists, keys and values, those counted anew that an alias repeats: nine lines of aliases can stand for billions."""
_LONGEST_SHOWN = 60

_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")
_TEXT_TAG = "tag:yaml.org,2002:str"
_MERGE_TAG = "tag:yaml.org,2002:merge"


class FaultAt(UsageError):  # noqa: N818 - as in rtexp.errors
    """Something is wrong at a place, named as by ``experiments[2].allocations[0].at``."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}" if place else what)
        self.place = place
        self.what = what


class Document(NamedTuple):
    """What a text says, and where."""

    content: Any
    source: str
    """What the text is called: a file's name; empty for one without."""
    root: yaml.Node | None

    def where(self, place: str) -> str:
        """Return source and line of a place, or of what it would stand in, as in ``experiments.yaml:12``."""
        mark = self.root.start_mark if self.root else None
        for key, node in self._way(place):
            mark = (key or node).start_mark
        return _where(self.source, mark.line + 1 if mark else 1)

    def written(self, place: str) -> str:
        """Return what stands there as a message may show it: a single value as it is written, else its kind."""
        node = self.root
        for _, step in self._way(place):
            node = step
        if isinstance(node, yaml.ScalarNode):
            if not node.value:
                return "nothing"
            text = node.value if len(node.value) <= _LONGEST_SHOWN else f"{node.value[:_LONGEST_SHOWN]}…"
            return f"`{''.join(c if c.isprintable() else '?' for c in text)}`"
        if node is None:
            return "nothing"
        if isinstance(node, yaml.SequenceNode):
            return "a list" if node.value else "an empty list"
        return "keys and values"

    def told(self, fault: FaultAt) -> str:
        """Return a fault with its line."""
        return f"{self.where(fault.place)}: {fault}"

    def _way(self, place: str) -> Iterator[tuple[yaml.Node | None, yaml.Node]]:
        """Yield the nodes on the way to a place, each with its key, as far as there are any."""
        node = self.root
        for name, index in _STEP.findall(place):
            key = None
            if isinstance(node, yaml.MappingNode) and name:
                # Of two the last one holds: what a merge brings in stands in front of what is written.
                pairs = [pair for pair in node.value if pair[0].value == name]
                if not pairs:
                    return
                key, node = pairs[-1]
            elif isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
                node = node.value[int(index)]
            else:
                return
            yield key, node


def read_yaml(text: str, source: str = "") -> Document:
    """Return what a text says; UsageError, with the line, if it is no YAML, repeats a key or is too much."""
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is not None:
                _measure(root, {}, source)
            content = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{_where(source, mark.line + 1, mark.column + 1)}: " if mark else _start(source)
        raise UsageError(f"{place}{error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{_where(source, line)}: not YAML: {error.reason}") from None
    except RecursionError:
        raise UsageError(f"{_start(source)}lists or keys are nested too deeply to be read") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number or time with an explicit tag
        raise UsageError(f"{_start(source)}not YAML: {error}") from None
    return Document(content, source, root)


class _Loader(yaml.SafeLoader):
    """A safe loader that leaves times as text: we can name their place."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _measure(node: yaml.Node, sizes: dict[int, int], source: str) -> int:
    """Return how many nodes a node stands for; before anything is made of them, as that is what takes memory."""
    known = sizes.get(id(node))
    if known is not None:
        if not known:
            raise yaml.constructor.ConstructorError(None, None, "an alias of itself", node.start_mark)
        return known
    sizes[id(node)] = 0  # not known yet: met again below, it holds itself
    size = 1
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated_keys(node)
        size += sum(
            _measure(key, sizes, source) + _measure(value, sizes, source) for key, value in node.value
        )
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_measure(item, sizes, source) for item in node.value)
    if size > MOST_NODES:
        where = _where(source, node.start_mark.line + 1)
        raise UsageError(
            f"{where}: expected at most {MOST_NODES:,} values, those that aliases repeat included"
        )
    sizes[id(node)] = size
    return size


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag not in {_TEXT_TAG, _MERGE_TAG}:
            continue
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"`{key.value}` is given twice", key.start_mark
            )
        seen.add(key.value)


def _where(source: str, line: int, column: int | None = None) -> str:
    if source:
        return f"{source}:{line}" if column is None else f"{source}:{line}:{column}"
    return f"line {line}" if column is None else f"line {line}, column {column}"


def _start(source: str) -> str:
    return f"{source}: " if source else ""

"""Tables as CSV: whatever a name holds, who reads the text finds the names that were written."""

from __future__ import annotations

import csv
import io

import pytest

from rtexp.store.csv_text import write_csv


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\r\nb", "a\r\n", "\r", 'a"b', "a,b", " a ", "größe"])
def test_a_name_is_read_as_it_was_written(name: str) -> None:
    text = io.StringIO()
    write_csv(text, ["name", "users"], [[name, 1], ["next", 2]])
    found = list(csv.reader(io.StringIO(text.getvalue(), newline="")))
    assert found == [["name", "users"], [name, "1"], ["next", "2"]]


def test_lines_end_by_a_newline_alone_and_truth_is_as_in_json() -> None:
    text = io.StringIO()
    write_csv(text, ["a", "b", "c"], [[True, None, 0.5], [False, "x", 7]])
    assert text.getvalue() == "a,b,c\ntrue,,0.5\nfalse,x,7\n"

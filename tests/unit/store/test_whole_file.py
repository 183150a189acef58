from __future__ import annotations

import os
from pathlib import Path

import pytest

from rtexp.store.whole_file import replacing


def test_readers_see_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    place = tmp_path / "cells.csv"
    place.write_text("old")
    with replacing(place) as file:
        file.write("new")
        file.flush()
        assert place.read_text() == "old"
    assert place.read_text() == "new"


def test_after_an_exception_the_file_is_as_before_and_alone(tmp_path: Path) -> None:
    place = tmp_path / "cells.csv"
    place.write_text("old")

    def fail() -> None:
        with replacing(place) as file:
            file.write("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    place, link = tmp_path / "cells.csv", tmp_path / "newest.csv"
    place.write_text("old")
    link.symlink_to(place)
    with replacing(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert place.read_text() == "new"


def test_what_is_no_file_is_written_to_and_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with replacing(pipe) as file:
            file.write("new")
        assert pipe.is_fifo()
        assert os.read(reader, 100) == b"new"
    finally:
        os.close(reader)


def test_standard_output_may_be_named_where_it_is_a_pipe() -> None:
    reader, writer = os.pipe()
    try:
        with replacing(Path(f"/proc/self/fd/{writer}")) as file:
            file.write("new")
        assert os.read(reader, 100) == b"new"
    finally:
        os.close(reader)
        os.close(writer)

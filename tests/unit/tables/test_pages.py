"""Pages that can't be trusted are refused."""

from __future__ import annotations

import pytest

from rtexp.errors import StateError
from rtexp.tables.pages import PageLayout

PAGES: PageLayout[list[int]] = PageLayout("users", 3, list[int])


def test_a_page_decodes_to_what_was_encoded() -> None:
    assert PAGES.decode(b"p/1", PAGES.encode([1, 2, 3])) == [1, 2, 3]


def test_another_layout_is_refused_and_the_message_says_what_to_do() -> None:
    older: PageLayout[list[int]] = PageLayout("users", 2, list[int])
    with pytest.raises(
        StateError, match=r"page p/1 of the users table has layout 2.*the version of rtexp that wrote"
    ):
        PAGES.decode(b"p/1", older.encode([1]))


@pytest.mark.parametrize("at", range(1, 8))
def test_a_flipped_bit_is_noticed_wherever_it_is(at: int) -> None:
    value = bytearray(PAGES.encode([1, 2]))
    value[at] ^= 1
    with pytest.raises(StateError, match="checksum"):
        PAGES.decode(b"p/1", bytes(value))


@pytest.mark.parametrize("size", [0, 4])
def test_a_page_that_is_cut_short_is_refused(size: int) -> None:
    with pytest.raises(StateError, match="cut short"):
        PAGES.decode(b"p/1", PAGES.encode([1])[:size])


def test_a_body_of_another_shape_is_refused() -> None:
    texts: PageLayout[list[str]] = PageLayout("users", 3, list[str])
    with pytest.raises(StateError, match="can't be decoded"):
        PAGES.decode(b"p/1", texts.encode(["a"]))

from __future__ import annotations

import pytest

from rtexp.letters.choosing import Origins, Tallies, Wanted
from rtexp.records.letters import Letter, Origin


def letter(offset: int, *, topic: str = "clicks", reason: str = "wrong-type", refused_ms: int = 5) -> Letter:
    return Letter(Origin(topic, 1, offset), reason, "", 1, refused_ms, None, b"", 0)


def test_an_origin_is_new_once() -> None:
    origins = Origins()
    assert [origins.add(Origin("t", p, o)) for p, o in [(0, 1), (0, 1), (1, 1), (0, 2)]] == [
        True, False, True, True,
    ]  # fmt: skip
    assert Origin("t", 0, 2) in origins
    assert Origin("t", 2, 2) not in origins
    assert Origin("other", 0, 2) not in origins


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), True),
        (Wanted(frozenset({"wrong-type", "too-large"})), True),
        (Wanted(frozenset({"too-large"})), False),
        (Wanted(topics=frozenset({"clicks"})), True),
        (Wanted(topics=frozenset({"views"})), False),
        (Wanted(frozenset({"wrong-type"}), frozenset({"views"})), False),
    ],
)
def test_letters_are_wanted_by_reason_and_topic(wanted: Wanted, found: bool) -> None:  # noqa: FBT001
    assert (letter(1) in wanted) == found


def test_letters_are_counted_once_each_with_the_first_and_last_time_and_what_was_replayed() -> None:
    replayed = Origins()
    replayed.add(letter(2).origin)
    tallies = Tallies(replayed)
    seen = [tallies.count(letter(offset, refused_ms=ms)) for offset, ms in [(1, 5), (2, 6), (1, 7), (3, 8)]]
    assert seen == [True, True, False, True]
    tally = tallies.by_kind["clicks", "wrong-type"]
    assert (tally.letters, tally.replayed, tally.oldest_ms, tally.newest_ms) == (3, 1, 5, 8)

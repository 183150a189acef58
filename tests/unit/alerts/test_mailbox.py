from __future__ import annotations

from tests.unit.alerts.told import notice

from rtexp.alerts.mailbox import CAPACITY, MAX_METADATA_BYTES, Entry, Mailbox, Position


def entry(offset: int, *, topic: str = "alerts", at_ms: int | None = None) -> Entry:
    return Entry(topic, offset, offset if at_ms is None else at_ms, notice(id=f"{topic}-{offset}"))


def mailbox(offset: int = 4, *ahead: int) -> Mailbox:
    return Mailbox({"alerts": Position(offset, frozenset(ahead)), "conditions": Position(0)})


def test_the_position_stays_at_the_first_that_is_held_and_remembers_what_went_ahead() -> None:
    box = mailbox()
    entries = {offset: entry(offset) for offset in (4, 5, 6, 7)}
    assert all(map(box.put, entries.values()))
    assert box.finish(entries[4]) == Position(5)
    assert box.finish(entries[7]) == Position(5, frozenset({7}))
    assert box.finish(entries[6]) == Position(5, frozenset({6, 7}))
    assert [e.offset for e in box.open()] == [5]
    assert box.finish(entries[5]) == Position(8)


def test_what_went_ahead_before_a_restart_is_not_sent_again_and_what_was_held_is() -> None:
    box = mailbox(5, 6, 7)
    assert [offset for offset in (5, 6, 7, 8) if box.put(entry(offset))] == [5, 8]


def test_a_position_leaps_over_what_went_ahead_and_has_not_been_read_again() -> None:
    box = mailbox(5, 6, 8)
    first = entry(5)
    box.put(first)
    assert box.finish(first) == Position(7, frozenset({8}))
    assert not box.put(entry(6))
    assert box.put(entry(7))


def test_offsets_that_transactions_took_are_no_gap() -> None:
    box = mailbox()
    first, second = entry(4), entry(9)
    box.put(first)
    box.put(second)
    assert box.finish(first) == Position(9)
    assert box.finish(second) == Position(10)


def test_both_topics_are_one_sequence_in_order_of_time() -> None:
    box = mailbox()
    box.put(entry(4, at_ms=30))
    box.put(entry(0, topic="conditions", at_ms=10))
    box.put(entry(1, topic="conditions", at_ms=40))
    assert [(e.topic, e.offset) for e in box.open()] == [("conditions", 0), ("alerts", 4), ("conditions", 1)]


def test_only_so_many_are_held() -> None:
    box = mailbox(0)
    for offset in range(CAPACITY):
        assert box.has_room
        box.put(entry(offset))
    assert not box.has_room


def test_a_position_is_read_as_it_was_kept() -> None:
    kept = Position(3, frozenset({5, 9, 1000}))
    assert Position.read(3, kept.metadata()) == kept
    assert Position.read(3, "") == Position(3)
    assert Position.read(3, "written by another program, 7") == Position(3)


def test_of_too_many_that_went_ahead_the_brokers_limit_is_kept() -> None:
    kept = Position(0, frozenset(range(10**9, 10**9 + 1000))).metadata()
    assert len(kept) <= MAX_METADATA_BYTES
    assert all(len(number) == 10 for number in kept.split(",")), "no number is cut"
    assert len(Position.read(0, kept).ahead) > 300

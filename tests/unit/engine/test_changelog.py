"""Markers and checkpoints say what they mean, or nothing at all."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtexp.engine import changelog
from rtexp.errors import StateError, UnsupportedVersion


@given(st.text(), st.dictionaries(st.text(), st.integers(0, 2**63 - 1), max_size=3))
def test_decoding_a_position_is_the_inverse_of_encoding(semantics: str, offsets: dict[str, int]) -> None:
    decoded = changelog.decode_position("t/0", changelog.encode_position(semantics, offsets))
    assert decoded == changelog.Position(changelog.VERSION, semantics, offsets)


def test_a_position_of_a_newer_version_asks_for_an_upgrade_even_if_it_looks_different() -> None:
    newer = msgspec.msgpack.encode([changelog.VERSION + 1, {"new": "shape"}])
    with pytest.raises(UnsupportedVersion, match=r"t/0 holds a record of version 2.*upgrade this worker"):
        changelog.decode_position("t/0", newer)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xc1", id="not msgpack"),
        pytest.param(msgspec.msgpack.encode([]), id="nothing in it"),
        pytest.param(msgspec.msgpack.encode({"version": 1}), id="not a list"),
        pytest.param(msgspec.msgpack.encode([1, "s1"]), id="without offsets"),
        pytest.param(msgspec.msgpack.encode([1, "s1", {"left": "5"}]), id="an offset that is text"),
        pytest.param(changelog.encode_position("s1", {"left": 5})[:-1], id="cut off"),
    ],
)
def test_a_damaged_position_names_its_topic(value: bytes) -> None:
    with pytest.raises(StateError, match="t/0 holds a damaged marker") as caught:
        changelog.decode_position("t/0", value)
    assert type(caught.value) is StateError


def test_pages_can_not_be_taken_for_anything_else() -> None:
    for key in (changelog.INCARNATION, changelog.MARKER, changelog.CHECKPOINT):
        assert not key.startswith(changelog.PAGE)

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtexp.core import sketches
from rtexp.errors import StateError

if TYPE_CHECKING:
    from rtexp.core.sketches import Entries

USERS = st.lists(st.integers(0, 300), max_size=60).map(lambda numbers: [f"user-{n}" for n in numbers])
LAW = settings(max_examples=60, deadline=None)


def of(users: list[str], lg_k: int = 12) -> Entries:
    return sketches.sparse(np.array([sketches.entry(user, lg_k) for user in users], np.uint32))


def numbered(first: int, end: int, lg_k: int = 12) -> Entries:
    return of([f"user-{n}" for n in range(first, end)], lg_k)


def standard_error(lg_k: int) -> float:
    return 1.0390 / math.sqrt(1 << lg_k)


@pytest.mark.parametrize(("user", "index", "rank"), [("user-0", 702, 3), ("user-1", 2474, 1)])
def test_a_users_register_and_rank_are_the_reference_constructions(user: str, index: int, rank: int) -> None:
    assert divmod(sketches.entry(user, 12), 64) == (index, rank)


@pytest.mark.parametrize(
    ("lg_k", "users", "expected"),
    [
        *((12, *case) for case in [
            (1, 1.0001), (10, 10.0123), (100, 100.2147), (1_000, 1020.4563), (5_000, 5000.8387),
            (10_000, 9830.3333), (20_000, 19010.4664), (50_000, 48680.0611), (100_000, 98027.3357),
        ]),
        *((14, *case) for case in [
            (1, 1.0000), (10, 10.0031), (100, 100.3061), (1_000, 1005.2499), (5_000, 5017.8208),
            (10_000, 9916.0945), (20_000, 19796.4527), (50_000, 49175.7181), (100_000, 99040.5196),
        ]),
    ],
)  # fmt: skip
def test_estimates_equal_the_reference_and_lie_within_five_standard_errors(
    lg_k: int, users: int, expected: float
) -> None:
    estimate = sketches.estimate(numbered(0, users, lg_k), lg_k)
    assert round(estimate, 4) == expected
    assert abs(estimate / users - 1) <= 5 * standard_error(lg_k)


def test_nobody_is_estimated_as_none() -> None:
    assert sketches.estimate(sketches.no_entries(), 12) == 0.0
    assert sketches.union().size == 0


def test_overlapping_users_count_once_in_a_union() -> None:
    left, right = numbered(0, 6_000), numbered(4_000, 10_000)
    assert round(sketches.estimate(left, 12), 4) == 6000.4531
    assert round(sketches.estimate(right, 12), 4) == 6006.1893
    merged = sketches.union(left, right)
    assert np.array_equal(merged, numbered(0, 10_000))
    assert round(sketches.estimate(merged, 12), 4) == 9830.3333


def test_errors_over_many_sets_are_as_small_and_as_even_as_they_should_be() -> None:
    users = 20_000
    errors = [
        sketches.estimate(of([f"g{b}-user-{i}" for i in range(users)]), 12) / users - 1 for b in range(100)
    ]
    assert abs(statistics.fmean(errors)) <= 0.005
    assert 0.011 <= statistics.stdev(errors) <= 0.019
    assert sum(abs(error) <= 2 * standard_error(12) for error in errors) >= 90


def test_the_estimate_never_falls_as_users_are_added() -> None:
    registers = np.zeros(1 << 10, np.uint8)
    before = 0.0
    for i in range(3_000):
        index, rank = divmod(sketches.entry(f"user-{i}", 10), 64)
        registers[index] = max(int(registers[index]), rank)
        estimate = sketches.estimate_dense(registers)
        assert estimate >= before
        before = estimate


@LAW
@given(USERS, USERS, USERS)
def test_union_is_commutative_associative_idempotent_and_the_sketch_of_all(
    a: list[str], b: list[str], c: list[str]
) -> None:
    together = of(a + b + c).tolist()
    assert sketches.union(of(a), sketches.union(of(b), of(c))).tolist() == together
    assert sketches.union(sketches.union(of(c), of(b)), of(a)).tolist() == together
    assert sketches.union(of(a), of(a)).tolist() == of(a).tolist()


@pytest.mark.parametrize("sizes", [(0, 0), (5, 300), (20_000, 300), (300, 20_000), (20_000, 15_000)])
def test_stored_sketches_united_in_registers_are_their_union(sizes: tuple[int, int]) -> None:
    left, right = numbered(0, sizes[0]), numbered(100, sizes[1])
    registers = sketches.dense(sketches.no_entries(), 12)
    for sketch in (left, right, left):
        sketches.unite(registers, sketches.to_bytes(sketch, 12), 12)
    assert sketches.from_dense(registers).tolist() == sketches.union(left, right).tolist()


@LAW
@given(USERS)
def test_dense_and_sparse_mean_the_same(users: list[str]) -> None:
    assert sketches.from_dense(sketches.dense(of(users), 12)).tolist() == of(users).tolist()


@pytest.mark.parametrize("users", [0, 1, 300, 20_000], ids=["nobody", "one", "sparse", "dense"])
def test_parsing_what_was_stored_gives_the_same_sketch(users: int) -> None:
    sketch = numbered(0, users)
    stored = sketches.to_bytes(sketch, 12)
    assert np.array_equal(sketches.from_bytes(stored, 12), sketch)
    assert len(stored) <= 4096 + 8


def test_equal_sketches_have_equal_bytes() -> None:
    entries = numbered(0, 1_000)
    assert sketches.to_bytes(entries[::-1], 12) == sketches.to_bytes(np.tile(entries, 2), 12)


def damaged(stored: bytes, at: int, value: int) -> bytes:
    """Change one byte of the header and make the checksum fit again."""
    import zlib  # noqa: PLC0415 - nobody else here looks into the bytes

    framed = bytearray(stored[:-4])
    framed[at] = value
    return bytes(framed) + zlib.crc32(framed).to_bytes(4)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        pytest.param(b"", "damaged", id="empty"),
        pytest.param(sketches.to_bytes(numbered(0, 9), 12)[:-1], "damaged", id="cut short"),
        pytest.param(damaged(sketches.to_bytes(numbered(0, 9), 12), 0, 2), "version 2", id="another version"),
        pytest.param(sketches.to_bytes(numbered(0, 9, 14), 14), "lg_k 14", id="another precision"),
        pytest.param(damaged(sketches.to_bytes(numbered(0, 9), 12), 2, 7), "hash 7", id="another hash"),
        pytest.param(damaged(sketches.to_bytes(numbered(0, 9), 12), 3, 1), "length", id="another mode"),
    ],
)
def test_bytes_that_are_no_sketch_of_this_kind_are_refused(stored: bytes, message: str) -> None:
    with pytest.raises(StateError, match=message):
        sketches.from_bytes(stored, 12)


def test_a_flipped_bit_is_noticed() -> None:
    stored = bytearray(sketches.to_bytes(numbered(0, 9), 12))
    stored[9] ^= 1
    with pytest.raises(StateError, match="checksum"):
        sketches.from_bytes(bytes(stored), 12)


def test_entries_beyond_the_registers_are_refused() -> None:
    with pytest.raises(StateError, match="greater lg_k"):
        sketches.dense(numbered(0, 100, lg_k=14), 12)

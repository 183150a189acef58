"""Looks in SQL: what each comparison said when, and the counts that it rested on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import and_, func, select

from rtexp.store.schema import look_inputs, looks
from rtexp.store.upserts import batches, upsert_newer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Select, Subquery

    from rtexp.statistics.looks import LookRecord

READ_ROWS = 1_000
KEY_COLUMNS, INPUT_KEY_COLUMNS = 8, 3


class LookRow(NamedTuple):
    """One row of ``looks``, in the order of its columns; see the contract for what each says.

    None: not computed, and ``reason`` (of the lift: ``lift_reason``) says why.
    """

    experiment: str
    period_start_ms: int
    group_name: str
    """The treatment."""
    event: str
    metric: str
    role: str
    method: str
    look: int
    """Counted from 1 within the period."""
    scheduled_ms: int
    evaluated_ms: int
    n_control: int
    n_treatment: int
    s1_control: int
    s1_treatment: int
    s2_control: int
    s2_treatment: int
    a_control: int
    a_treatment: int
    effect: float | None
    std_error: float | None
    interval_low: float | None
    interval_high: float | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    lift_method: str | None
    lift_reason: str | None
    p_value: float | None
    """Of this look alone."""
    z: float | None
    information: float | None
    level: float | None
    alpha_spent: float | None
    boundary: float | None
    p_always_valid: float | None
    srm_log_e: float | None
    srm_p: float | None
    srm_first_log_e: float | None
    srm_first_p: float | None
    crossed: bool
    withheld: bool
    state: str
    final: bool
    reason: str | None
    note: str | None
    plan_hash: str | None
    version: str
    """Of the software that evaluated it."""
    sequence: int
    """As in ``cells``: a row of a higher one is newer."""

    @classmethod
    def of(cls, record: LookRecord, sequence: int) -> LookRow:
        """Return a record as SQL keeps it; it has all fields but the sequence, by the same names."""
        return cls(**msgspec.structs.asdict(record), sequence=sequence)


class LookInputRow(NamedTuple):
    """One row of ``look_inputs``, in the order of its columns."""

    experiment: str
    period_start_ms: int
    look: int
    scheduled_ms: int
    inputs: str
    """JSON, kept byte for byte."""
    sequence: int


def upsert_looks(connection: Connection, rows: Iterable[LookRow]) -> None:
    """Write rows over stored ones of the same key, except where the stored sequence is higher; no key twice."""
    for batch in batches(rows, key_columns=KEY_COLUMNS, size=lambda _: 0):
        upsert_newer(connection, looks, batch)


def upsert_look_inputs(connection: Connection, rows: Iterable[LookInputRow]) -> None:
    """Write rows as `upsert_looks` does."""
    for batch in batches(rows, key_columns=INPUT_KEY_COLUMNS, size=lambda row: len(row.inputs)):
        upsert_newer(connection, look_inputs, batch)


def read_looks(connection: Connection, *, experiment: str | None = None) -> Iterator[LookRow]:
    """Yield all looks in order of their key, names byte for byte; of one experiment, or of all.

    Rows are fetched as they are taken, so the connection's transaction must outlive the iterator.
    """
    statement = select(looks).order_by(*looks.primary_key)
    if experiment is not None:
        statement = statement.where(looks.c.experiment == experiment)
    for row in connection.execute(statement, execution_options={"yield_per": READ_ROWS}):
        yield LookRow(*row)


def read_newest_looks(
    connection: Connection,
    *,
    experiment: str | None = None,
    event: str | None = None,
    every_period: bool = False,
) -> Iterator[LookRow]:
    """Yield the newest look of each comparison, of the newest period of each experiment or of all its periods.

    As `read_looks` does: in order of the key, and fetched as they are taken.
    """
    comparison = list(looks.primary_key)[:-1]
    newest = select(*comparison, func.max(looks.c.look).label("look")).group_by(*comparison)
    if experiment is not None:
        newest = newest.where(looks.c.experiment == experiment)
    if event is not None:
        newest = newest.where(looks.c.event == event)
    if not every_period:
        # Of all events: the newest period may lack one that an older period had.
        starts = select(looks.c.experiment, func.max(looks.c.period_start_ms).label("period_start_ms"))
        if experiment is not None:
            starts = starts.where(looks.c.experiment == experiment)
        newest = _on_all(newest, starts.group_by(looks.c.experiment).subquery())
    statement = _on_all(select(looks), newest.subquery()).order_by(*looks.primary_key)
    for row in connection.execute(statement, execution_options={"yield_per": READ_ROWS}):
        yield LookRow(*row)


def _on_all(statement: Select[Any], keys: Subquery) -> Select[Any]:
    """Join ``looks`` with those whose columns are the same."""
    return statement.join(keys, and_(*(looks.c[column.name] == column for column in keys.c)))


def read_look_inputs(connection: Connection, *, experiment: str) -> Iterator[LookInputRow]:
    """Yield what one experiment's looks rested on, in order of period and look; fetched as they are taken."""
    statement = (
        select(look_inputs).where(look_inputs.c.experiment == experiment).order_by(*look_inputs.primary_key)
    )
    for row in connection.execute(statement, execution_options={"yield_per": READ_ROWS}):
        yield LookInputRow(*row)

"""Whose history the database holds: the id of each results changelog, written at its first publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from rtexp.errors import StateError
from rtexp.store.schema import incarnations
from rtexp.store.upserts import insert_if_absent

if TYPE_CHECKING:
    from sqlalchemy import Connection


def check_incarnation(connection: Connection, changelog: str, partition: int, incarnation: str) -> None:
    """Return if the database belongs to this changelog's history; a database without any is taken for it.

    ``connection`` must be in the transaction whose rows this guards. StateError if the rows come from another
    history: its sequences say nothing about ours, so its rows would hide ours or stay among them.
    """
    mine = (incarnations.c.changelog == changelog) & (incarnations.c.partition == partition)
    stored = select(incarnations.c.incarnation).where(mine)
    found = connection.scalar(stored)
    if found is None:
        row = {"changelog": changelog, "partition": partition, "incarnation": incarnation}
        insert_if_absent(connection, incarnations, row)
        found = connection.scalar(stored)  # someone else may have been quicker
    if found != incarnation:
        raise StateError(
            f"the SQL database holds results of another history of {changelog}, partition {partition} "
            f"({found}, not {incarnation}): its topics were deleted or it belongs to another installation; "
            "set store.url to a new database, or empty the tables cells, looks, look_inputs and incarnations"
        )

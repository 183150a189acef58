"""Many experiments with many events, in SQL within seconds: one is simulated, the others are its copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, insert, literal, select, text
from tests.browser.samples import fill, fill_operations
from tests.browser.simulated import Behaviour, Sample

from rtexp.store.engine import writing
from rtexp.store.schema import cells, looks, plans

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement, Engine, Insert

MODEL = "exp-000"


def fill_crowd(engine: Engine, *, experiments: int, events: int, hours: float, now_ms: int) -> None:
    """Write experiments of the same age, each with hourly looks at all events; three of them decide, one guards."""
    names = [f"event-{number:02}" for number in range(events)]
    model = Sample(
        MODEL,
        ("control", "treatment"),
        hours,
        900,
        {name: Behaviour(0.1 + 0.01 * i, 0.02) for i, name in enumerate(names)},
        [(name, "propensity") for name in names[:3]],
        good=dict.fromkeys(names, "up"),
    )
    fill(engine, [model], now_ms=now_ms)
    fill_operations(engine, watermark_ms=now_ms, now_ms=now_ms)
    with writing(engine) as connection:
        for number in range(1, experiments):
            name = f"exp-{number:03}"
            for table in (plans, cells, looks):
                connection.execute(_copy(table, name, number))
            connection.execute(
                text(
                    "INSERT INTO experiments (name, control_group, created_at_ms, plan) "
                    "SELECT :name, control_group, created_at_ms, plan FROM experiments WHERE name = :model"
                ),
                {"name": name, "model": MODEL},
            )
        connection.execute(
            text(
                "INSERT INTO experiment_groups (experiment_id, name) SELECT e.id, g.name FROM experiments e, "
                "experiment_groups g JOIN experiments m ON m.id = g.experiment_id AND m.name = :model "
                "WHERE e.name <> :model ORDER BY e.id, g.id"
            ),
            {"model": MODEL},
        )
        connection.execute(
            text(
                "INSERT INTO allocations (group_id, percent, changed_at_ms) SELECT g.id, a.percent, a.changed_at_ms "
                "FROM experiment_groups g, allocations a JOIN experiment_groups of ON of.id = a.group_id "
                "WHERE g.name = of.name AND g.id <> of.id ORDER BY g.id"
            )
        )


def _copy(table: Table, name: str, number: int) -> Insert:
    """Return what copies the model's rows under another name; figures of looks differ a little, as in life."""

    def value(column: Column[Any]) -> ColumnElement[Any]:
        if column.name == "experiment":
            return literal(name)
        if (
            table is looks
            and column.name.startswith(("lift", "z", "p_always"))
            and column.type.python_type is float
        ):
            return column * (1 + number / 1000)
        return column + 7 * number if column.name.startswith("n_") else column

    columns = [value(column) for column in table.c]
    return insert(table).from_select(table.c.keys(), select(*columns).where(table.c.experiment == MODEL))

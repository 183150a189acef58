from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.web.sites import Site, cell, experiment, look, open_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site with nothing in it."""
    with open_site(tmp_path) as opened:
        yield opened


@pytest.fixture
def filled(site: Site) -> Site:
    """One experiment with a plan, two looks and three buckets of both groups."""
    site.define(experiment())
    site.freeze(search="up")
    site.write(
        look(53, state="no_difference_yet", crossed=False, z=1.5),
        look(54),
        *(
            row
            for group in ("control", "treatment")
            for row in (
                cell(0, event="", exposures=10, group=group, users=("u1", "u2")),
                cell(1, event="", exposures=5, group=group),
                cell(0, group=group, users=("u1", "u2", "u3")),
                cell(1, group=group, users=("u3", "u4")),
                cell(5, group=group),
            )
        ),
    )
    return site

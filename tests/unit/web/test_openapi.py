"""The API against its own OpenAPI document, asked by schemathesis: what it allows is answered as it says.

A real `rtexp web` over a real SQLite file. Whatever the document forbids must be refused, and nothing is a 5xx.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.unit.web.servers import serving
from tests.unit.web.sites import TOKEN, experiment

if TYPE_CHECKING:
    from tests.unit.web.sites import Site

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 20
LEAST_CASES = 500


def asked(address: str, directory: Path) -> str:
    """Ask all that the document allows, and some of what it doesn't; return what schemathesis says of it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color"),
            *("run", f"{address}api/v1/openapi.json", "--seed", "6", "--max-examples", str(EXAMPLES)),
            *("--header", f"Authorization:Bearer {TOKEN}"),
            *("--no-shrink", "--generation-database", "none", "--request-timeout", "10"),
        ],
        check=False,
        cwd=directory,  # where it leaves a cache
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_answer_is_one_that_the_document_tells_of(filled: Site, tmp_path: Path) -> None:
    filled.define(experiment("a/b"), experiment("x' OR 1=1 --"))
    with serving(tmp_path, WEB_TOKEN=TOKEN) as server:
        found = re.search(r"(\d+) generated, (\d+) passed", asked(server.address, tmp_path))
    assert found is not None
    assert int(found[1]) == int(found[2]) >= LEAST_CASES

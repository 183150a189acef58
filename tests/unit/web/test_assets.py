"""Static files: under their hash, complete, small, and those of others just as they were published."""

from __future__ import annotations

import gzip
import json
import re
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from rtexp.web.assets import Assets

if TYPE_CHECKING:
    from tests.unit.web.sites import Site

STATIC = files("rtexp.web").joinpath("static")
MOST_GZIPPED_BYTES = 150_000


def scripts_from(site: Site, path: str) -> dict[str, bytes]:
    """Return all that a page loads, also what its scripts import, by address."""
    page = site.client.get(path)
    assert page.status_code == 200
    loaded = {path: page.content}
    ahead = re.findall(r'(?:src|<link rel="stylesheet" href)="([^"]+)"', page.text)
    while ahead:
        if (address := ahead.pop()) in loaded:
            continue
        answer = site.client.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        loaded[address] = answer.content
        if address.endswith(".js"):
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
            ahead += [
                f"/static/{name}"
                for name in re.findall(r'^import .*"\./([^"]+)";', answer.text, re.MULTILINE)
            ]
    return loaded


def test_files_of_others_are_as_they_were_published() -> None:
    vendor = STATIC.joinpath("vendor")
    manifest = json.loads(vendor.joinpath("manifest.json").read_text(encoding="utf-8"))
    listed = {name: digest for part in manifest.values() for name, digest in part["files"].items()}
    assert listed == {
        entry.name: sha256(entry.read_bytes()).hexdigest()
        for entry in vendor.iterdir()
        if entry.name != "manifest.json"
    }
    assert all(part["version"] and part["license"] for part in manifest.values())


@pytest.mark.parametrize("path", ["/", "/experiments/feed"])
def test_a_page_with_all_that_it_loads_is_small(filled: Site, path: str) -> None:
    loaded = scripts_from(filled, path)
    assert sum(len(gzip.compress(body, 6)) for body in loaded.values()) < MOST_GZIPPED_BYTES


def test_a_script_names_what_it_imports_by_hash(filled: Site) -> None:
    loaded = scripts_from(filled, "/experiments/feed")
    own = {
        re.sub(r"\.[0-9a-f]{16}\.", ".", address.removeprefix("/static/"))
        for address in loaded
        if address.endswith(".js")
    }
    assert own == {entry.name for entry in STATIC.iterdir() if entry.name.endswith(".js")} | {
        "uPlot.iife.min.js"
    }


def test_no_script_is_made_of_text_and_no_style_is_set_by_attribute() -> None:
    for entry in STATIC.iterdir():
        if entry.name.endswith(".js"):
            text = entry.read_text(encoding="utf-8")
            assert not re.search(
                r"\beval\(|new Function|setAttribute\(\s*[\"']style|\.outerHTML\s*=", text
            ), entry.name
            assert "http://" not in text
            assert "https://" not in text


def test_large_answers_are_compressed_for_those_who_take_it(filled: Site) -> None:
    style = f"/static/{Assets().path('style.css')}"
    assert filled.client.get(style).headers["content-encoding"] == "gzip"
    plain = filled.client.get(style, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers

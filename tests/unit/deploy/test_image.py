"""The image: what its linter says of the Dockerfile, and that it suits those who run it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.unit.deploy.files import ROOT, VENDOR

DOCKERFILE = (ROOT / "Dockerfile").read_text()
HADOLINT = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint has no wheel for this machine")
def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert HADOLINT
    done = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_as_a_user_with_a_number_who_owns_the_data_directory() -> None:
    """A name, Kubernetes can't tell from root; and a new volume takes over the owner of what it covers."""
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert int(user) > 0
    assert re.search(rf"install -d -o {user} -g {group} .* /var/lib/rtexp/data$", DOCKERFILE, re.MULTILINE)
    workloads = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "workloads.yaml").read_text())["items"]
    for each in workloads:
        context = each["spec"]["template"]["spec"]["securityContext"]
        assert (context["runAsUser"], context["fsGroup"]) == (int(user), int(group))


def test_what_is_copied_into_it_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {name.partition("/")[0] for line in copied for name in line.split()}
    assert sources <= sent
    assert all((ROOT / source).exists() for source in sources)


def test_what_is_vendored_is_what_the_manifest_says() -> None:
    listed = json.loads((VENDOR / "manifest.json").read_text())
    assert {item["file"] for item in listed} == {path.name for path in VENDOR.iterdir()} - {"manifest.json"}
    for item in listed:
        assert hashlib.sha256((VENDOR / item["file"]).read_bytes()).hexdigest() == item["sha256"]

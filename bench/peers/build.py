"""Building the peers with Maven."""

from __future__ import annotations

import shutil
import subprocess

from bench.peers.variants import HERE

from rtexp.errors import UsageError


def build() -> None:
    """Make what `Peer.command` starts: a minute the first time, some seconds from then on.

    UsageError, saying what to install, without Maven and a Java compiler; or with what Maven said, if it fails.
    """
    missing = [program for program in ("mvn", "javac") if shutil.which(program) is None]
    if missing:
        raise UsageError(
            f"the peers are built with Maven and a JDK 17 or newer, and there is no {' and no '.join(missing)}: "
            "install them (Debian: maven and openjdk-17-jdk-headless)"
        )
    done = subprocess.run(  # noqa: S603 - our own list
        ["mvn", "-B", "-q", "-f", str(HERE / "pom.xml"), "package"],  # noqa: S607 - the user's Maven
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UsageError(f"Maven can't build the peers; it said:\n{done.stdout}")

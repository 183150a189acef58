"""Become another program, which the system kills when the process that started this one dies.

Run as a file (``python child.py PARENT_PID PROGRAM ARGUMENT…``), so that it needs nothing of rtexp and
starts in some milliseconds. It exists because ``preexec_fn`` runs Python between fork and exec, which can
deadlock in a process that has threads, as a supervisor with a database has. The request survives exec;
pid and pipes stay.

"The process that started this one" is, to be exact, its thread: start children from one that lives on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Replace this process by ``arguments[1:]``; doesn't return."""
    parent, program = int(arguments[0]), arguments[1:]
    die_with(parent)
    try:
        os.execvp(program[0], program)  # noqa: S606 - the supervisor's own list, no shell
    except OSError as exc:
        sys.exit(f"{program[0]}: {exc.strerror}")


def die_with(parent: int) -> None:
    """Have the system kill this process when its parent dies; exit if it is dead already."""
    if sys.platform == "linux":
        # SIGKILL, for nothing may be left, and state is safe without goodbyes. Other systems have no such
        # request: there a supervisor that is killed leaves its children behind.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request: nobody would ever end this process
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])

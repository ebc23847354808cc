"""A program under valgrind's memcheck, and what it has to say of each of its processes."""

import os
import re
import shutil

import pytest

from harness import PROGRAM, ROOT, SANITIZED

COUNT = int(os.environ.get("S6_TLSD_VALGRIND", "2"))
MARKS = [
    pytest.mark.skipif(SANITIZED, reason="valgrind cannot run a sanitized program"),
    pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed"),
]

# It makes calls of its own, which the seal forbids.
UNSEALED = "--sandbox=off"


def valgrind(folder, program=PROGRAM):
    kinds = "definite,indirect,possible"
    return ["valgrind", "--leak-check=full", f"--show-leak-kinds={kinds}", f"--errors-for-leak-kinds={kinds}",
            "--track-fds=yes", "--error-exitcode=99", "--child-silent-after-fork=no", "--trace-children=no",
            f"--suppressions={ROOT}/tests/program/valgrind.supp", f"--log-file={folder}/%p", program]


def left_open(log):
    """The descriptors that a log calls open, but for those that were inherited."""
    lines = [re.sub(r"^==\d+== *", "", line) for line in log.splitlines()]
    return [line for line, after in zip(lines, [*lines[1:], ""])
            if line.startswith("Open ") and "<inherited from parent>" not in after]


def check(folder, **pids):
    """Each of these processes has ended by itself, without an error, a leak or an open descriptor."""
    for name, pid in pids.items():
        log = (folder / str(pid)).read_text()
        assert "ERROR SUMMARY: 0 errors" in log, f"{name}: {log}"
        assert left_open(log) == [], name

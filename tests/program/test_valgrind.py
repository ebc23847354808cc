"""Memory and descriptors under valgrind: no error, no leak, nothing left open, in monitor and engine."""

import os
import re
import shutil

import pytest

from harness import Client, PROGRAM, Tlsd, VERSIONS, refusal, session

COUNT = int(os.environ.get("S6_TLSD_VALGRIND", "2"))
pytestmark = [
    pytest.mark.skipif("S6_TLSD_SANITIZED" in os.environ, reason="valgrind cannot run a sanitized program"),
    pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed"),
]


# It makes calls of its own, which the seal forbids.
UNSEALED = "--sandbox=off"


def valgrind(folder):
    kinds = "definite,indirect,possible"
    return ["valgrind", "--leak-check=full", f"--show-leak-kinds={kinds}",
            f"--errors-for-leak-kinds={kinds}", "--track-fds=yes", "--error-exitcode=99",
            "--child-silent-after-fork=no", "--trace-children=no", f"--log-file={folder}/%p", PROGRAM]


def left_open(log):
    """The descriptors that a log calls open, but for those that were inherited."""
    lines = [re.sub(r"^==\d+== *", "", line) for line in log.splitlines()]
    return [line for line, after in zip(lines, [*lines[1:], ""])
            if line.startswith("Open ") and "<inherited from parent>" not in after]


def check(folder, monitor, engine):
    for name, pid in ("monitor", monitor), ("engine", engine):
        log = (folder / str(pid)).read_text()
        assert "ERROR SUMMARY: 0 errors" in log, f"{name}: {log}"
        assert left_open(log) == [], name


@pytest.mark.parametrize("n", range(COUNT))
def test_connection(pki, tmp_path, n):
    """A connection with a client certificate leaves nothing behind."""
    version = VERSIONS[-1 - n % len(VERSIONS)]
    options = [UNSEALED, "-v2", "-y", *(["-S"] if n % 4 > 1 else [])]
    with session(pki, ["sh", "-c", "cat; exit 5"], options, version, pki.client, env={"CAFILE": pki.cafile},
                 program=valgrind(tmp_path)) as (tlsd, client):
        engine = tlsd.engine()
        client.send(b"x" * 100000)
        assert client.read_exactly(100000) == b"x" * 100000
        client.close_notify() if n % 4 > 1 else client.fin()
        assert client.read_all() == b""
        client.close()
        assert tlsd.wait() == 5
    check(tmp_path, tlsd.pid, engine)


def test_refused_client(pki, tmp_path):
    """A failed handshake leaves nothing behind."""
    with Tlsd(pki, ["cat"], [UNSEALED, "-y"], env={"CAFILE": pki.cafile}, program=valgrind(tmp_path)) as tlsd:
        engine = tlsd.engine()
        assert "ALERT" in refusal(Client(tlsd.sock, pki))
        tlsd.sock.close()
        assert tlsd.wait() == 98
    check(tmp_path, tlsd.pid, engine)

"""What bulk costs in system calls of the engine: a count, which no machine and no load on it changes much.

An engine that is traced is slower than its prog and its peer, and so finds full pipes and sockets: what is
counted is how much it takes and hands on in a call.
"""

import re

import pytest

from harness import PROGRAM, SANITIZED, Fifo, children, leave, session, wait_quiet

pytestmark = pytest.mark.skipif(SANITIZED, reason="the leak checker does not work under strace")

MEGABYTES = 20

# System calls a MB (10^6 bytes), at most.
DOWN, UP = 25, 25


class Trace:
    """The program under strace, which writes the calls of each process to a file of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.command = ["strace", "-ff", "-qq", "-e", "signal=none", "-o", str(folder / "trace"), PROGRAM]

    def calls(self, pid):
        """How many a process has made."""
        return len(re.findall(r"^\w+\(", (self.folder / f"trace.{pid}").read_text(), flags=re.M))


def calls_a_megabyte(pki, folder, prog, transfer):
    """Of the engine, from the moment that it rests behind the handshake to its end. prog waits for a line in go."""
    trace, go = Trace(folder), Fifo(folder / "go")
    with session(pki, ["sh", "-c", 'read _ < "$0"; ' + prog, go.path], program=trace.command) as (tlsd, client):
        monitor, = children(tlsd.pid)
        engine = children(monitor)[0]
        wait_quiet(engine)
        before = trace.calls(engine)
        assert before > 0
        go.put()
        transfer(client)
        leave(tlsd, client)
        return (trace.calls(engine) - before) / MEGABYTES


def test_system_calls_down(pki, blob, tmp_path):
    """What prog writes in large pieces reaches the client in few calls."""
    data = memoryview(blob.data)[:MEGABYTES * 10**6]
    (tmp_path / "data").write_bytes(data)

    def transfer(client):
        assert client.read_all() == data
    assert calls_a_megabyte(pki, tmp_path, f"exec cat {tmp_path}/data", transfer) <= DOWN


def test_system_calls_up(pki, blob, tmp_path):
    """And what the client sends reaches prog so."""
    def transfer(client):
        client.send(memoryview(blob.data)[:MEGABYTES * 10**6])
        client.fin()
        assert client.read_all() == b"%d\n" % (MEGABYTES * 10**6)
    assert calls_a_megabyte(pki, tmp_path, "cat | wc -c", transfer) <= UP

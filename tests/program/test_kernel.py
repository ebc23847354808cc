"""Each call of the system that the programs make, failing once: tests/hostile/libc.c is preloaded, and fails it.

A run without a fault tells which calls there are, and by whom. In every other one a call fails, in one process,
and what must be so then is what must always be so: an end, an exit code that fits, one line that says why, no process
left, no byte wrong, nothing cut that looks whole, and nobody served by a process that is not sealed.
"""

import contextlib
import errno
import os
import ssl
import struct

import pytest

from harness import BACKEND, LIMIT, PROGRAM, SANITIZED, Client, Tlsd, children, status_of, survivors, wait_for
from server import LONG, Server

LIBC = os.path.join(os.path.dirname(PROGRAM), "tests", "hostile-libc.so")
DATA = bytes(i * 7919 >> 5 & 255 for i in range(40_000))
NOBODY = "65534"
PARTS = 8  # into which the faults are divided, for as many workers

# Calls that are messages or the data itself: their failure may also be one of the connection. Those of the wire have
# a socket that is broken behind them, which this one is not, and what the client sees of it is nothing that can be.
TALKS = ("read", "write", "send", "recv", "sendmsg", "recvmsg", "poll", "ppoll", "epoll_wait", "epoll_pwait")
WIRE = ("send", "recv")

# These have no way to fail but by arguments that make no sense.
SURE = ("sigaction", "sigprocmask")

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer has to be the first library")


class Tally:
    """The file in which the preloaded libc counts calls, by process and name, and says that the fault has been."""

    ENTRY = struct.Struct("32s12I")
    ENTRIES = 96
    PROCESSES = ["first", *"12345678", "spawned"]

    def __init__(self, folder, fault=None):
        self.path = str(folder / "tally")
        self.fault = fault
        with open(self.path, "wb") as f:
            f.truncate(self.ENTRIES * self.ENTRY.size)

    def environment(self):
        ids = {"TLS_UID": NOBODY, "TLS_GID": NOBODY} if os.geteuid() == 0 else {}
        fault = {"FAIL": "{} {} {} {}".format(*self.fault)} if self.fault else {}
        return {"LD_PRELOAD": LIBC, "FAIL_TALLY": self.path, **fault, **ids}

    def calls(self):
        with open(self.path, "rb") as f:
            entries = list(self.ENTRY.iter_unpack(f.read()))
        return {(who, name.rstrip(b"\0").decode()): made[n]
                for name, _, _, *made in entries for n, who in enumerate(self.PROCESSES) if made[n]}


def share(calls, part):
    """A part of the faults. Where there is little time, each backend takes a third of them, and not the same one."""
    third = 0 if LONG else PARTS * ["openssl", "bearssl", "libtls"].index(BACKEND)
    return list(faults(calls))[part + third::PARTS if LONG else 3 * PARTS]


def faults(calls):
    """(who, call, nth, errno) for a run's calls: each of them, or the first and the last of a kind."""
    for (who, call), n in sorted(calls.items()):
        if call in SURE:
            continue
        for nth in range(1, n + 1) if LONG else sorted({1, n}):
            yield who, call, nth, errno.ENOMEM if call in WIRE else errno.EIO
        if call in ("read", "write", "recv", "ppoll", "poll"):
            yield who, call, (n + 1) // 2, errno.EINTR
        if call in ("read", "write"):
            yield who, call, (n + 1) // 2, 0


def seal_of(pid):
    """What protects the world from that process."""
    return [status_of(pid, field) for field in ("Seccomp", "NoNewPrivs", "CapEff", "Uid", "Groups")]


def converse(client, sealed):
    """Has DATA echoed; returns what came, and calls sealed() once a byte of it has."""
    got = b""
    with contextlib.suppress(OSError, ssl.SSLError):
        client.handshake()
        client.send(DATA[:1])
        got = client.read(1)
        if got:
            sealed()
        client.send(DATA[1:])
        client.fin()
        got += client.read_all()
    client.close()
    return got


def check_bytes(fault, client, got):
    """What came is right as far as it goes, and does not look whole if it is not."""
    assert got == DATA[:len(got)]
    if 0 < len(got) < len(DATA) and fault[1] not in WIRE:
        assert client.end != "fin"


# -- s6-tlsd -------------------------------------------------------------------

def attempt(pki, folder, fault, seals):
    """One connection of s6-tlsd. `seals`: what its processes must be sealed with, or a list to be filled with it."""
    tally = Tally(folder, fault)
    with Tlsd(pki, ["cat"], ["--sandbox=require"], env=tally.environment(), preexec=os.setsid) as tlsd:
        client, looked = Client(tlsd.sock, pki), []
        got = converse(client, lambda: looked.extend(seal_of(pid) for pid in [tlsd.pid, *children(tlsd.pid)[:1]]))
        code = tlsd.wait(LIMIT)
        wait_for(lambda: not survivors(tlsd.pid), "the last process")
        text = tlsd.stderr()
    if not fault:
        assert (code, text, got) == (0, "", DATA)
        seals.extend(looked)
        return tally
    check_bytes(fault, client, got)
    assert not looked or looked == seals
    if code == 0:
        assert (got == DATA, client.end, text) == (True, "fin", "")
        return tally
    assert code == 111 or (code == 98 and fault[1] in TALKS), code
    assert text.startswith("s6-tlsd: fatal: ") and text.count("\n") == 1, text
    return tally


def seal_there_is(pki, folder):
    """Whether this kernel has all of it."""
    with Tlsd(pki, ["true"], ["--sandbox=require"]) as tlsd:
        tlsd.sock.close()
        return tlsd.wait() != 111 or pytest.skip(tlsd.stderr())


@pytest.mark.parametrize("part", range(PARTS))
def test_a_call_of_s6_tlsd_fails(pki, tmp_path, part):
    seal_there_is(pki, tmp_path)
    seals = []
    calls = attempt(pki, tmp_path, None, seals).calls()
    assert {who for who, _ in calls} == {"first", "1", "spawned"}
    for fault in share(calls, part):
        try:
            attempt(pki, tmp_path, fault, seals)
        except Exception as e:
            raise AssertionError("{}: {} {}: errno {}".format(*fault)) from e


# -- s6-tlsserver ----------------------------------------------------------------

def serve(pki, folder, fault, seals):
    """Connections to s6-tlsserver, of which at most one may fail, and not the last; or it says why it ends."""
    tally = Tally(folder, fault)
    with Server(pki, ["cat"], ["--sandbox=require", "--spare=1"], env=tally.environment(), ready=False) as server:
        line, whole = server.proc.stdout.readline(), []
        while line and len(whole) < 4 and (len(whole) < 2 or not whole[-1]) and server.proc.poll() is None:
            server.port = int(line)
            looked, got = [], b""
            with contextlib.suppress(ConnectionError):
                client = server.begin()
                got = converse(client, lambda: looked.append(seal_of(server.engine(client))))
                check_bytes(fault or (None, None), client, got)
            whole.append(got == DATA)
            if not fault:
                seals.extend(looked)
            assert not looked or looked[0] == seals[0]
        # One that served nobody in the end ends by itself, and not as if it had been told to.
        serves = bool(whole) and whole[-1]
        if serves:
            assert whole.count(False) < 2, server.text()
            server.proc.terminate()
        code = server.wait(LIMIT)
        wait_for(lambda: not survivors(server.pid), "the last process")
        assert (code, len(server.lines("fatal"))) in ([(0, 0)] * serves + [(111, 1), (97, 1)]), server.text()
        if not fault:
            assert (code, whole, server.warnings()) == (0, [True, True], [])
    return tally


@pytest.mark.parametrize("part", range(PARTS))
def test_a_call_of_s6_tlsserver_fails(pki, tmp_path, part):
    seal_there_is(pki, tmp_path)
    seals = []
    calls = serve(pki, tmp_path, None, seals).calls()
    assert {"first", "1", "spawned"} <= {who for who, _ in calls}
    for fault in share(calls, part):
        try:
            serve(pki, tmp_path, fault, seals)
        except Exception as e:
            raise AssertionError("{}: {} {}: errno {}".format(*fault)) from e

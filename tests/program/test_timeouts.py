"""What time may end and what it may not: -K, --handshake-timeout, the stall bound; and rest that costs no CPU."""

import contextlib
import os
import signal
import ssl
import time

import pytest

from harness import (ABLE, FILL, LIMIT, Client, Fifo, Tlsd, cpu_ms, fatal_line, leave, offer, python, session, stop,
                     wait_quiet)
from server import many

ROLES = ["server", "client"]

FOREVER = "--linger=2000000"


# -- the handshake -----------------------------------------------------------

def first_flight(tlsd, pki, version):
    """A client and its ClientHello, not sent."""
    client = Client(tlsd.sock, pki, version)
    with contextlib.suppress(Exception):
        client.tls.do_handshake()
    return client, client.outbound.read()


def silent(tlsd, pki, version):
    pass


def half_a_hello(tlsd, pki, version):
    hello = first_flight(tlsd, pki, version)[1]
    tlsd.sock.sendall(hello[:len(hello) // 2])


def after_the_server_hello(tlsd, pki, version):
    client, hello = first_flight(tlsd, pki, version)
    client.sock.sendall(hello)
    assert client.fill()


def drip(tlsd, pki, version):
    """A byte now and then, always sooner than -K would notice."""
    hello = first_flight(tlsd, pki, version)[1]
    for byte in hello[:-1]:
        if tlsd.proc.poll() is not None:
            return
        with contextlib.suppress(ConnectionError):
            tlsd.sock.sendall(bytes([byte]))
        time.sleep(0.02)
    assert not hello, "each byte has bought more time"


@pytest.mark.parametrize("option, stall", [
    ("-K300", silent),
    ("-K300", half_a_hello),
    ("-K300", after_the_server_hello),
    ("--handshake-timeout=300", silent),
    ("--handshake-timeout=300", half_a_hello),
    ("--handshake-timeout=300", after_the_server_hello),
    ("--handshake-timeout=300", drip),
])
def test_stalled_handshake_ends(pki, tmp_path, version, option, stall):
    """A handshake that does not get on is over at the timeout: 98, one line, and prog never ran."""
    ran = tmp_path / "ran"
    with Tlsd(pki, ["touch", str(ran)], [option, "--linger=0"]) as tlsd:
        stall(tlsd, pki, version)
        assert tlsd.wait() == 98
        fatal_line(tlsd)
    assert not ran.exists()


def test_handshake_timeout_leaves_the_relay_alone(pki, version):
    """Once the handshake is over its timeout means nothing."""
    with session(pki, ["cat"], ["--handshake-timeout=1000"], version) as (tlsd, client):
        time.sleep(1.2)
        client.send(b"still there")
        assert client.read_exactly(11) == b"still there"
        client.fin()
        assert client.read_all() == b""
        leave(tlsd, client)


# -- the relay ---------------------------------------------------------------

def test_idle_relay_ends(pki, tmp_path, version):
    """After -K without a byte prog reads EOF and the wire is closed; the program exits 98, but only when prog does."""
    told, go = Fifo(tmp_path / "told"), Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'cat > /dev/null; echo eof > "$0"; read _ < "$1"; exit 0', told.path, go.path]
    with session(pki, prog, ["-S", "-K500"], version) as (tlsd, client):
        assert client.read_all() == b""
        assert client.end == "fin"
        assert told.get() == "eof"
        client.close()
        time.sleep(0.2)
        assert tlsd.proc.poll() is None
        go.put()
        assert tlsd.wait() == 98
        fatal_line(tlsd)


def test_idle_relay_ends_although_prog_closed_its_stdout(pki, version):
    """A client that stays silent after prog closed its stdout is left at -K: 98."""
    with session(pki, ["sh", "-c", "exec >&-; cat > /dev/null; exit 0"], ["-K500"], version) as (tlsd, client):
        assert client.read_all() == b""
        assert client.end == "fin"
        assert tlsd.wait() == 98
        fatal_line(tlsd)


def test_silent_client_after_progs_stdout_closed_waits_for_prog(pki, tmp_path, version):
    """Without -K a silent client stays as long as prog does."""
    go = Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'exec >&-; read _ < "$0"; exit 7', go.path]
    with session(pki, prog, version=version) as (tlsd, client):
        assert client.read_all() == b""
        time.sleep(0.3)
        assert tlsd.proc.poll() is None
        go.put()
        leave(tlsd, client, 7)


def test_bytes_from_the_wire_count_against_idleness(pki, version):
    """Every byte from the wire starts -K anew, also those that do not complete a record."""
    with session(pki, ["cat"], ["-K1500"], version) as (tlsd, client):
        record = client.encrypt(b"x" * 500)
        for at in range(0, len(record), 100):
            client.sock.sendall(record[at:at + 100])
            time.sleep(0.4)
        assert client.read_exactly(500) == b"x" * 500
        client.fin()
        assert client.read_all() == b""
        leave(tlsd, client)


def test_bytes_from_prog_count_against_idleness(pki, version):
    """Every byte from prog starts -K anew."""
    with session(pki, ["sh", "-c", "for i in 1 2 3 4 5; do sleep 0.4; echo $i; done"], ["-K1500"], version) as (
            tlsd, client):
        assert client.read_all() == b"1\n2\n3\n4\n5\n"
        leave(tlsd, client)


# -- a peer that takes nothing -----------------------------------------------

@pytest.mark.parametrize("options", many([[], ["-K1500"]], [["-K1500"]]))
def test_peer_takes_nothing_after_progs_exit(pki, blob, version, options):
    """When prog has exited and the peer takes no byte of the rest for -K, or a minute: 98, and the peer sees a reset."""
    prog = python(FILL, blob.path)
    with session(pki, prog, [*options, "--linger=0"], version, rcvbuf=4096) as (tlsd, client):
        assert tlsd.wait(2 * LIMIT) == 98
        fatal_line(tlsd)
        got = client.read_all()
        assert client.end == "reset"
        assert got == blob.data[:len(got)]


def test_peer_takes_nothing_while_prog_is_blocked(pki, blob, tmp_path, version):
    """A peer that takes nothing for -K ends the connection: prog gets EOF and EPIPE, the peer sees a reset."""
    told = Fifo(tmp_path / "told")
    prog = python(FILL + """
os.set_blocking(1, True)
try:
    os.write(1, data[n:])
except BrokenPipeError:
    open(sys.argv[2], "w").write("EPIPE\\n")
if os.read(0, 1) == b"":
    open(sys.argv[2], "w").write("EOF\\n")
""", blob.path, told.path)
    with session(pki, prog, ["-K1500", "--linger=0"], version, rcvbuf=4096) as (tlsd, client):
        assert [told.get(), told.get()] == ["EPIPE", "EOF"]
        assert tlsd.wait() == 98
        fatal_line(tlsd)
        got = client.read_all()
        assert client.end == "reset"
        assert got == blob.data[:len(got)]


def test_peer_takes_slowly_after_progs_exit(pki, blob, tmp_path, version):
    """A peer that takes some bytes in every -K gets all of them, however long that lasts."""
    told = Fifo(tmp_path / "told")
    prog = python(FILL + "open(sys.argv[2], 'w').write(f'{n}\\n')", blob.path, told.path)
    with session(pki, prog, ["-K2000"], version, rcvbuf=4096) as (tlsd, client):
        n = int(told.get())
        got = b""
        for _ in range(8):
            got += client.read_exactly(40_000)
            time.sleep(0.4)
        got += client.read_all()
        assert got == blob.data[:n]
        assert client.end == "fin"
        leave(tlsd, client)


# -- at rest in every state --------------------------------------------------

def nothing(tlsd, client):
    pass


def upload_until_blocked(tlsd, client):
    records = client.encrypt(bytes(20_000_000))
    assert offer(client.sock, records) < len(records)


def cut_inside_a_record(tlsd, client):
    client.sock.sendall(client.encrypt(bytes(100))[:50])
    client.fin()


def bad_record(tlsd, client):
    client.sock.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))


LIVES = 'echo there > "$0"; read _ < "$1"'
READS_TO_EOF = "cat > /dev/null; " + LIVES
FILLED = 'open(sys.argv[2], "w").write("there\\n")\nos.set_blocking(1, True)\nos.write(1, data[n:])'
FILLS = FILL + FILLED

# What prog does (its last sign of life is "there"), the options, and what happens when it has begun.
def terminate_when_ready(tlsd, client):
    """prog has said by a line that it ignores the signal."""
    assert client.read_exactly(1) == b"\n"
    tlsd.proc.terminate()


RESTS = {
    "both are quiet": (LIVES, [], nothing),
    "half a record came": (LIVES, [], lambda tlsd, client: client.sock.sendall(client.encrypt(bytes(100))[:50])),
    "the peer sent FIN": (READS_TO_EOF, [], lambda tlsd, client: client.fin()),
    "the peer sent close_notify": (READS_TO_EOF, [], lambda tlsd, client: client.close_notify()),
    "the peer closed": (READS_TO_EOF, [], lambda tlsd, client: client.close()),
    "the peer reset": (READS_TO_EOF, [], lambda tlsd, client: client.reset()),
    "a bad record came": (READS_TO_EOF, [FOREVER], bad_record),
    "the idle timeout passed": (READS_TO_EOF, ["-K300", "--linger=0"], nothing),
    "the engine was killed": (READS_TO_EOF, [], lambda tlsd, client: os.kill(tlsd.engine(), signal.SIGKILL)),
    "prog closed its stdout": ("exec >&-; " + LIVES, [], nothing),
    "prog closed its stdout under -S": ("exec >&-; " + LIVES, ["-S", FOREVER], nothing),
    "prog closed its stdin": ("exec <&-; " + LIVES, [], lambda tlsd, client: client.send(bytes(100_000))),
    "prog closed both": ("exec <&- >&-; " + LIVES, [], nothing),
    "prog closed both under -S": ("exec <&- >&-; " + LIVES, ["-S", FOREVER], nothing),
    "prog closed both and the peer sent FIN": ("exec <&- >&-; " + LIVES, [], lambda tlsd, client: client.fin()),
    "prog is stopped": (LIVES, [], lambda tlsd, client: os.kill(tlsd.prog(), signal.SIGSTOP)),
    "prog does not read": (LIVES, [], upload_until_blocked),
    "the peer does not read": (FILLS, [], nothing),
    "nobody reads": (FILLS, [], upload_until_blocked),
    "prog exited and the peer is silent": ("echo there > $0", [FOREVER], nothing),
    "prog exited under -S and the peer is silent": ("echo there > $0", ["-S", FOREVER], nothing),
    "prog exited and the peer does not read": (FILL + 'open(sys.argv[2], "w").write("there\\n")', [], nothing),
    "a grandchild keeps the pipe": ('(read _ < "$1") & echo there > "$0"', [FOREVER], nothing),
    "prog exited, an upload unread, and the peer is silent": (
        "read _; echo there > $0", [FOREVER], lambda tlsd, client: client.send(b"\n" + bytes(200_000))),
    "the peer sent FIN and prog does not read": (
        LIVES, [], lambda tlsd, client: (client.send(bytes(200_000)), client.fin())),
    "the peer sent close_notify and prog does not read": (
        LIVES, [], lambda tlsd, client: (client.send(bytes(200_000)), client.close_notify())),
    "the peer reset and prog does not read": (
        LIVES, [], lambda tlsd, client: (client.send(bytes(200_000)), client.reset())),
    "the peer sent FIN inside a record": (READS_TO_EOF, [], cut_inside_a_record),
    "the peer sent FIN under -J": (READS_TO_EOF, ["-J"], lambda tlsd, client: client.fin()),
    "the peer sent FIN and does not read": (FILLS, [], lambda tlsd, client: client.fin()),
    "prog closed its stdout and does not read": ("exec >&-; " + LIVES, [], upload_until_blocked),
    "prog closed its stdin and the peer does not read": (
        FILL + "os.close(0)\n" + FILLED, [], lambda tlsd, client: client.send(bytes(100_000))),
    "a signal came and prog ignores it": ("trap '' TERM; echo; " + READS_TO_EOF, [], terminate_when_ready),
}


def assert_no_cpu(tlsd, pids):
    """At rest the processes use less than 10 ms of CPU a second; and they are still at it."""
    wait_quiet(*pids)
    before, begin = cpu_ms(*pids), time.monotonic()
    time.sleep(0.5)
    used, seconds = cpu_ms(*pids) - before, time.monotonic() - begin
    assert tlsd.proc.poll() is None
    assert used < 10 * seconds


@pytest.mark.parametrize("state", RESTS)
def test_rest_costs_no_cpu(pki, blob, tmp_path, version, state):
    """In no state of the relay does either process spin."""
    told, go = Fifo(tmp_path / "told"), Fifo(tmp_path / "go")
    text, options, action = RESTS[state]
    if text.startswith(FILL):
        prog = python(text, blob.path, told.path)
    else:
        prog = ["sh", "-c", text, told.path, go.path]
    with session(pki, prog, options, version, rcvbuf=4096) as (tlsd, client):
        pids = tlsd.pid, tlsd.engine()
        if "exited" not in state and "grandchild" not in state:
            tlsd.prog()
        action(tlsd, client)
        if "stopped" not in state:
            assert told.get() == "there"
        assert_no_cpu(tlsd, pids)
        if "grandchild" in state:
            go.release()


@pytest.mark.parametrize("stall", [silent, half_a_hello, after_the_server_hello])
def test_waiting_for_a_handshake_costs_no_cpu(pki, version, stall):
    """Neither process spins while the peer says nothing, or too little."""
    with Tlsd(pki, ["true"]) as tlsd:
        stall(tlsd, pki, version)
        assert_no_cpu(tlsd, (tlsd.pid, tlsd.engine()))


def test_stopped_and_continued(pki, version):
    """SIGSTOP and SIGCONT of both processes change nothing."""
    with session(pki, ["cat"], version=version) as (tlsd, client):
        pids = tlsd.pid, tlsd.engine()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        client.send(b"meanwhile")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert client.read_exactly(9) == b"meanwhile"
        client.fin()
        assert client.read_all() == b""
        leave(tlsd, client)


def test_stopped_for_longer_than_it_may_be_idle(pki, version):
    """An engine that goes on finds what came meanwhile before it finds itself late."""
    with session(pki, ["cat"], ["-K500"], version) as (tlsd, client):
        client.send(b"before")
        assert client.read_exactly(6) == b"before"
        stop(tlsd.engine())
        client.send(b"meanwhile")
        time.sleep(0.7)
        os.kill(tlsd.engine(), signal.SIGCONT)
        assert client.read_exactly(9) == b"meanwhile"
        client.fin()
        assert client.read_all() == b""
        leave(tlsd, client)


@pytest.mark.server_only
def test_monitor_that_does_not_answer(pki, version):
    """The handshake's bound holds for the wait for a signature as well."""
    with Tlsd(pki, ["true"], ["--handshake-timeout=300"]) as tlsd:
        engine = tlsd.engine()
        wait_quiet(tlsd.pid, engine)
        os.kill(tlsd.pid, signal.SIGSTOP)
        try:
            client = Client(tlsd.sock, pki, version)
            with pytest.raises((ConnectionError, ssl.SSLError)):
                client.handshake()
                if not ABLE.signs_elsewhere:
                    raise ConnectionError  # it needed nobody
        finally:
            os.kill(tlsd.pid, signal.SIGCONT)
        client.sock.close()
        assert tlsd.wait() in ([98] if ABLE.signs_elsewhere else [98, 0])


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_a_file_is_awaited(pki, tmp_path, signum):
    """A key file that nobody writes is no way to make the program deaf."""
    os.mkfifo(tmp_path / "key")
    with Tlsd(pki, ["true"], env={"KEYFILE": str(tmp_path / "key")}) as tlsd:
        if ABLE.signs_elsewhere:
            wait_quiet(tlsd.engine())
        tlsd.proc.send_signal(signum)
        assert tlsd.wait() == -signum

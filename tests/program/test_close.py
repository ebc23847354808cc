"""Who ends what, and how: half closes, close_notify, the linger, prog's end and its descriptors."""

import contextlib
import os
import signal
import socket
import time

import pytest

from harness import (ABLE, ENDS, FILL, LIMIT, NEWEST, VERSIONS, Client, Fifo, Tlsd, alive, answer_with_alert, children,
                     fatal_line, keeper, leave, offer, python, session, stop, strict_context, wait_for, wait_quiet,
                     wire_end)

ROLES = ["server", "client"]

# A linger, in milliseconds, that no test outlasts: what ends the connection is something else.
FOREVER = "--linger=2000000"


# -- the peer ends first -----------------------------------------------------

def close_notify_and_fin(client):
    """Both in one segment, as far as the kernel lets one choose."""
    record = client.close_notify(send=False)
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    client.sock.sendall(record)
    client.fin()


PEER_ENDS = {
    "fin": lambda client: client.fin(),
    "close_notify": lambda client: client.close_notify(),
    "close_notify, then fin": lambda client: (client.close_notify(), client.fin()),
    "close_notify with fin": close_notify_and_fin,
}


def ends_the_reply(peer):
    """Whether the backend cannot but end our side, too, at this end of the peer's."""
    return peer.startswith("close_notify") and not ABLE.replies_after_close_notify


@pytest.mark.parametrize("peer", PEER_ENDS)
def test_whole_reply_after_the_peer_ended(pki, blob, tmp_path, version, close, peer):
    """After the client's FIN or close_notify prog reads EOF; its reply, later, in three writes of 5 MB, is sent whole.

    Where the backend ends both sides at a close_notify it answers by its own, and prog cannot write.
    """
    size, go = 5_000_000, Fifo(tmp_path / "go")
    prog = python(f"""
if sys.stdin.buffer.read() != b"request":
    sys.exit(1)
open(sys.argv[2]).readline()
data = memoryview(open(sys.argv[1], "rb").read({size}))
for part in data[:1_000_000], data[1_000_000:3_000_000], data[3_000_000:]:
    while part:
        part = part[os.write(1, part):]
""", blob.path, go.path)
    with session(pki, prog, [close], version) as (tlsd, client):
        engine = tlsd.engine()
        client.send(b"request")
        PEER_ENDS[peer](client)
        wait_quiet(tlsd.pid, engine)
        go.put()
        if ends_the_reply(peer):
            assert client.read_all() == b""
            assert client.end == "close_notify"
            assert wire_end(client.sock) == "fin"
            client.close()
            assert tlsd.wait() == 1
            assert "BrokenPipeError" in tlsd.stderr() and "s6-tlsd: " not in tlsd.stderr()
        else:
            assert client.read_all() == blob.data[:size]
            assert client.end == ENDS[close]
            leave(tlsd, client)


@pytest.mark.parametrize("peer", [*PEER_ENDS, "full close"])
def test_whole_upload_before_the_peers_end(pki, blob, tmp_path, version, peer):
    """prog gets every byte that came before the peer's end, a full close behind close_notify included."""
    size = 300_000
    taken = tmp_path / "taken"
    with session(pki, keeper(taken), version=version) as (tlsd, client):
        client.send(memoryview(blob.data)[:size])
        if peer == "full close":
            client.close_notify()
        else:
            PEER_ENDS[peer](client)
            assert client.read_all() == b""
        leave(tlsd, client)
    assert taken.read_bytes() == blob.data[:size]


@pytest.mark.parametrize("part", range(4))
def test_client_that_never_reads_loses_nothing(pki, blob, tmp_path, part):
    """A client, of TLS 1.3 if possible, writes 50 kB and closes without ever having read: prog gets all, each time."""
    taken = tmp_path / "taken"
    for _ in range(25):
        with session(pki, keeper(taken), version=NEWEST) as (tlsd, client):
            client.send(memoryview(blob.data)[:50_000])
            leave(tlsd, client)
        assert taken.read_bytes() == blob.data[:50_000]


@pytest.mark.parametrize("option, peer, expected", [
    ("-j", "fin", 7),
    ("-j", "close_notify", 7),
    ("-J", "fin", 98),
    ("-J", "close_notify", 7),
    ("-J", "close_notify, then fin", 7),
    ("-J", "close_notify with fin", 7),
])
def test_peers_eof_is_judged_while_prog_runs(pki, tmp_path, version, option, peer, expected):
    """An EOF without close_notify is an error under -J alone; prog reads what came, then EOF, either way."""
    taken = tmp_path / "taken"
    prog = ["sh", "-c", 'cat > "$0"; exit 7', str(taken)]
    with session(pki, prog, [option], version) as (tlsd, client):
        client.send(b"upload")
        PEER_ENDS[peer](client)
        assert client.read_all() == b""
        cut = expected == 98  # an answer that was not at its end
        assert client.end == ("reset" if cut else "close_notify" if ends_the_reply(peer) else "fin")
        client.close()
        assert tlsd.wait() == expected
        if expected == 98:
            fatal_line(tlsd)
        else:
            assert tlsd.stderr() == ""
    assert taken.read_bytes() == b"upload"


@pytest.mark.parametrize("option", ["-j", "-J"])
@pytest.mark.parametrize("peer", ["fin", "close_notify"])
def test_peers_eof_is_not_judged_after_progs_end(pki, version, close, option, peer):
    """Once prog has exited and its last byte was taken, not even -J minds how the peer ends."""
    with session(pki, ["sh", "-c", "echo bye; exit 7"], [option, close, FOREVER], version) as (tlsd, client):
        assert client.read_all() == b"bye\n"
        assert client.end == ENDS[close]
        wait_for(lambda: len(children(tlsd.pid)) == 1, "prog's exit to be noticed")
        wait_quiet(tlsd.pid, tlsd.engine())
        PEER_ENDS[peer](client)
        leave(tlsd, client, 7)


@pytest.mark.parametrize("answer", ["alert", "reset"])
def test_quick_answer_to_progs_end_is_not_judged(pki, version, answer):
    """A client that answers our FIN at once with an alert or a RST gets prog's code, each time."""
    context = strict_context(pki, version)
    for _ in range(15):
        with Tlsd(pki, ["sh", "-c", "echo bye; exit 7"]) as tlsd:
            client = Client(tlsd.sock, pki, context=context).handshake()
            assert client.read_all() == b"bye\n" and client.end == "fin"
            answer_with_alert(client) if answer == "alert" else client.reset()
            assert (tlsd.wait(), tlsd.stderr()) == (7, "")


@pytest.mark.parametrize("option, cut", [("-J", 0), ("-j", 50)])
def test_peers_eof_is_judged_when_prog_is_about_to_end(pki, version, option, cut):
    """A FIN without close_notify under -J, or inside a record, is a failure though prog ends soon after."""
    prog = python("import time; os.write(1, b'up'); os.read(0, 9); time.sleep(0.012); os._exit(0)")
    for _ in range(20):
        with session(pki, prog, [option], version) as (tlsd, client):
            assert client.read_exactly(2) == b"up"
            client.sock.sendall(client.encrypt(b"request") + client.encrypt(bytes(100))[:cut])
            client.fin()
            if tlsd.wait() == 98:
                fatal_line(tlsd)
                return
    # Once can be a machine too busy to see the FIN in time. Each time is a rule that is not kept.
    raise AssertionError("prog's end excuses what came before it")


@pytest.mark.parametrize("upload", [0, 400_000])
def test_reset_behind_progs_last_byte_is_not_judged(pki, tmp_path, version, close, upload):
    """A RST that comes when prog has exited and its last byte was taken changes nothing, our close_notify sent or not.

    With an upload that nobody reads the RST shows in the write of the close_notify, without it in a read.
    """
    go = Fifo(tmp_path / "go")
    with session(pki, ["sh", "-c", 'printf hello; read _ < "$0"; exit 7', go.path], [close], version) as (tlsd, client):
        assert client.read_exactly(5) == b"hello"
        engine, prog = tlsd.engine(), tlsd.prog()
        offer(client.sock, client.encrypt(bytes(upload)))
        wait_quiet(engine)
        stop(tlsd.pid)
        stop(engine)
        go.put()
        wait_for(lambda: not alive(prog), "prog's exit")
        client.reset()
        os.kill(engine, signal.SIGCONT)
        wait_quiet(engine)
        os.kill(tlsd.pid, signal.SIGCONT)
        assert (tlsd.wait(), tlsd.stderr()) == (7, "")


@pytest.mark.parametrize("option, expected", [("-j", 7), ("-J", 98)])
def test_peers_eof_is_judged_when_prog_closed_its_stdout(pki, version, option, expected):
    """With prog's EOF sent but prog alive, the peer's EOF is still judged."""
    with session(pki, ["sh", "-c", "exec >&-; cat > /dev/null; exit 7"], [option], version) as (tlsd, client):
        assert client.read_all() == b""
        client.fin()
        assert tlsd.wait() == expected
        assert bool(tlsd.stderr()) == (expected == 98)


# -- prog ends first ---------------------------------------------------------

ANSWERS = {
    "close_notify": lambda client: client.close_notify(),
    "fin": lambda client: client.fin(),
    "reset": lambda client: client.reset(),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_linger_ends_with_the_peers_answer(pki, version, close, answer):
    """After prog's end the program waits for the peer, and goes at its close_notify, FIN or RST."""
    with session(pki, ["sh", "-c", "echo bye; exit 7"], [close, FOREVER], version) as (tlsd, client):
        assert client.read_all() == b"bye\n"
        assert client.end == ENDS[close]
        if close == "-S":
            assert wire_end(client.sock) == "fin"
        time.sleep(0.1)
        assert tlsd.proc.poll() is None
        ANSWERS[answer](client)
        assert tlsd.wait() == 7
        assert tlsd.stderr() == ""


@pytest.mark.parametrize("answer", ANSWERS)
def test_linger_ends_with_the_peers_answer_while_prog_lives(pki, tmp_path, version, answer):
    """Under -S the connection is over at the peer's answer, also while prog, its stdout closed, still runs."""
    go = Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'exec >&-; read _ < "$0"; exit 7', go.path]
    with session(pki, prog, ["-S", FOREVER], version) as (tlsd, client):
        assert client.read_all() == b""
        assert client.end == "close_notify"
        assert wire_end(client.sock) == "fin"
        engine = tlsd.engine()
        ANSWERS[answer](client)
        wait_for(lambda: not alive(engine), "the engine to be done")
        assert tlsd.proc.poll() is None
        go.put()
        assert (tlsd.wait(), tlsd.stderr()) == (7, "")


@pytest.mark.parametrize("linger", [0, 200])
def test_linger_is_bounded_when_the_peer_is_silent(pki, version, close, linger):
    """A peer that neither answers nor closes keeps the program for --linger, and changes nothing else."""
    prog = ["sh", "-c", "echo bye; exit 7"]
    with session(pki, prog, [close, f"--linger={linger}"], version) as (tlsd, client):
        assert tlsd.wait() == 7
        assert client.read_all() == b"bye\n"
        assert client.end == ENDS[close]
        assert tlsd.stderr() == ""


def test_linger_is_bounded_when_the_peer_keeps_sending(pki, blob, version, close):
    """A peer that sends on and on gets its whole reply, and is left when --linger is over."""
    with session(pki, blob.head(65537), [close, "--linger=400"], version) as (tlsd, client):
        client.send(bytes(100_000))
        assert client.read_all() == blob.data[:65537]
        assert client.end == ENDS[close]
        deadline = time.monotonic() + LIMIT
        while tlsd.proc.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(ConnectionError):
                client.send(bytes(1000))
        leave(tlsd, client)


def test_reply_survives_a_peer_that_sends_on(pki, blob, version, close):
    """What the client sends after prog's end draws no reset, which would destroy the reply that it has yet to read."""
    size = 300_000
    with session(pki, blob.head(size), [close, FOREVER], version, rcvbuf=4096) as (tlsd, client):
        wait_for(lambda: len(children(tlsd.pid)) < 2, "prog's end")
        wait_quiet(tlsd.pid, *children(tlsd.pid))
        for _ in range(30):
            client.send(bytes(10_000))
            time.sleep(0.01)
        assert client.read_all() == blob.data[:size]
        assert client.end == ENDS[close]
        leave(tlsd, client)


def test_prog_killed_with_data_in_both_directions(pki, blob, tmp_path, version):
    """What a killed prog had written reaches the client first; the exit code is 128 and the signal."""
    told = Fifo(tmp_path / "told")
    prog = python(FILL + "open(sys.argv[2], 'w').write(f'{n}\\n')\nselect.select([], [], [])", blob.path, told.path)
    with session(pki, prog, version=version, rcvbuf=4096) as (tlsd, client):
        client.send(bytes(100_000))
        n = int(told.get())
        assert 65536 < n < len(blob.data)
        os.kill(tlsd.prog(), signal.SIGKILL)
        assert client.read_all() == blob.data[:n]
        assert client.end == "fin"
        leave(tlsd, client, 128 + signal.SIGKILL)


def test_grandchild_keeps_the_pipe(pki, blob, tmp_path, version, close):
    """A grandchild that holds prog's stdout does not keep the connection alive, and costs no byte of prog's."""
    told, go = Fifo(tmp_path / "told"), Fifo(tmp_path / "go")
    prog = python(FILL + """
if os.fork() == 0:
    open(sys.argv[3]).readline()
    os._exit(0)
open(sys.argv[2], "w").write(f"{n}\\n")
os._exit(3)
""", blob.path, told.path, go.path)
    with session(pki, prog, [close], version, rcvbuf=4096) as (tlsd, client):
        try:
            n = int(told.get())
            assert 65536 < n < len(blob.data)
            got = client.read_all()
            assert len(got) == n and got == blob.data[:n]
            assert client.end == ENDS[close]
            leave(tlsd, client, 3)
        finally:
            go.release()


def test_grandchild_that_writes_for_ever(pki, version, close):
    """prog's exit ends the connection even while a grandchild never stops writing."""
    with session(pki, ["sh", "-c", "yes & exit 3"], [close], version) as (tlsd, client):
        assert client.read_all().strip(b"y\n") == b""
        assert client.end == ENDS[close]
        leave(tlsd, client, 3)


def test_grandchild_writes_behind_progs_rest(pki, blob, tmp_path, version, close):
    """What prog left in a full pipe is its last word, though a grandchild puts more behind it without end.

    The pipe is so large that it is not read in one go."""
    told = Fifo(tmp_path / "told")
    prog = python("import fcntl, signal\nfcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)\n" + FILL + """
if os.fork() == 0:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.set_blocking(1, True)
    while True:
        os.write(1, b"y" * 4096)
open(sys.argv[2], "w").write(f"{n}\\n")
os._exit(3)
""", blob.path, told.path)
    with session(pki, prog, [close], version, rcvbuf=4096) as (tlsd, client):
        n = int(told.get())
        wait_for(lambda: len(children(tlsd.pid)) == 1, "prog's end")
        wait_quiet(tlsd.pid, tlsd.engine())
        assert 65536 < n < len(blob.data)
        got = client.read_all()
        assert len(got) == n and got == blob.data[:n]
        assert client.end == ENDS[close]
        leave(tlsd, client, 3)


def test_prog_daemonises(pki, tmp_path, version):
    """When prog's process ends the program ends, whatever prog left running."""
    go = Fifo(tmp_path / "go")
    prog = ["sh", "-c", '(read _ < "$0") <&- >&- 2>&- & echo started; exit 4', go.path]
    with session(pki, prog, version=version) as (tlsd, client):
        try:
            assert client.read_all() == b"started\n"
            leave(tlsd, client, 4)
        finally:
            go.release()


# -- prog closes its descriptors and lives -----------------------------------

def test_prog_closes_its_stdin(pki, blob, tmp_path, version):
    """What comes after prog closed its stdin is dropped, and prog's three chunks still arrive."""
    size, go = 300_000, Fifo(tmp_path / "go")
    prog = python(f"""
os.close(0)
data = open(sys.argv[1], "rb").read({3 * size})
with open(sys.argv[2]) as go:
    for at in range(0, {3 * size}, {size}):
        go.readline()
        sys.stdout.buffer.write(data[at:at + {size}])
        sys.stdout.buffer.flush()
""", blob.path, go.path)
    with session(pki, prog, version=version) as (tlsd, client):
        got = b""
        for _ in range(3):
            got += client.exchange(bytes(5_000_000))
            go.put()
            got += client.read_exactly(size)
        got += client.read_all()
        assert got == blob.data[:3 * size]
        assert client.end == "fin"
        leave(tlsd, client)


@pytest.mark.parametrize("option, version", [
    (option, version) for version in VERSIONS for option in ("-s", "--half-close-notify")
    if (option, version) != ("--half-close-notify", "1.2")])
def test_prog_closes_its_stdout(pki, blob, tmp_path, option, version):
    """The client sees the EOF, and prog still gets the whole upload, in flight before and sent after."""
    size, sums = 300_000, tmp_path / "sums"
    prog = ["sh", "-c", 'exec >&-; exec sha256sum > "$0"', str(sums)]
    with session(pki, prog, [option], version) as (tlsd, client):
        client.send(memoryview(blob.data)[:size // 2])
        assert client.read_all() == b""
        assert client.end == ("fin" if option == "-s" else "close_notify")
        client.send(memoryview(blob.data)[size // 2:size])
        client.fin()
        leave(tlsd, client)
    assert sums.read_text().split()[0] == blob.sha(size)


@pytest.mark.parametrize("option, version", [
    *(("-S", version) for version in VERSIONS), ("--half-close-notify", "1.2")])
def test_close_notify_breaks_the_full_duplex(pki, tmp_path, option, version):
    """Behind our close_notify comes FIN, prog reads EOF, and what the client still sends is discarded."""
    go, told, taken = Fifo(tmp_path / "go"), Fifo(tmp_path / "told"), tmp_path / "taken"
    prog = ["sh", "-c", 'read _ < "$0"; exec >&-; cat > "$1"; echo eof > "$2"; read _ < "$0"; exit 5',
            go.path, str(taken), told.path]
    with session(pki, prog, [option, FOREVER], version) as (tlsd, client):
        client.send(b"before")
        wait_quiet(tlsd.engine())
        go.put()
        assert client.read_all() == b""
        assert client.end == "close_notify"
        assert wire_end(client.sock) == "fin"
        client.send(b"after")
        assert told.get() == "eof"
        assert tlsd.proc.poll() is None
        go.put()
        leave(tlsd, client, 5)
    assert taken.read_bytes() == b"before"


@pytest.mark.parametrize("peer_closes", [True, False])
def test_prog_closes_both_and_keeps_running(pki, tmp_path, version, close, peer_closes):
    """The connection is over for the client, and the program lives as long as prog's process."""
    told, go = Fifo(tmp_path / "told"), Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'exec <&- >&-; echo closed > "$0"; read _ < "$1"; exit 3', told.path, go.path]
    with session(pki, prog, [close], version) as (tlsd, client):
        assert told.get() == "closed"
        assert client.read_all() == b""
        assert client.end == ENDS[close]
        if peer_closes:
            client.close()
        time.sleep(0.1)
        assert tlsd.proc.poll() is None
        go.put()
        leave(tlsd, client, 3)


# -- readiness and hang-up together ------------------------------------------

@pytest.mark.parametrize("end", ["fin", "reset"])
def test_data_and_hangup_of_the_peer_together(pki, blob, tmp_path, version, end):
    """Data and the end of the wire become known at once: the data is read first, and prog gets it."""
    taken = tmp_path / "taken"
    with session(pki, keeper(taken), version=version) as (tlsd, client):
        tlsd.prog()
        engine = tlsd.engine()
        stop(engine)
        # What Nagle's algorithm holds back would go with the reset, unsent.
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(memoryview(blob.data)[:50_000])
        client.fin() if end == "fin" else client.reset()
        os.kill(engine, signal.SIGCONT)
        assert tlsd.wait() == (0 if end == "fin" else 98)
    assert taken.read_bytes() == blob.data[:50_000]


def test_data_and_hangup_of_prog_together(pki, blob, tmp_path, version, close):
    """prog's output and its exit become known at once: the output is read first, and sent."""
    go = Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'read _ < "$0"; head -c 50000 "$1"; exit 3', go.path, blob.path]
    with session(pki, prog, [close], version) as (tlsd, client):
        engine, writer = tlsd.engine(), tlsd.prog()
        stop(engine)
        go.put()
        wait_for(lambda: not alive(writer), "prog's exit")
        os.kill(engine, signal.SIGCONT)
        assert client.read_all() == blob.data[:50_000]
        assert client.end == ENDS[close]
        leave(tlsd, client, 3)


def test_report_and_end_of_the_engine_together(pki, role):
    """The engine's last words and its end become known at once: what it said is read first, and told."""
    with Tlsd(pki, ["true"]) as tlsd:
        engine = tlsd.engine()
        client = Client(tlsd.sock, pki)
        client.greet() if role == "server" else client.fill()  # from here on it needs the monitor no more
        stop(tlsd.pid)
        tlsd.sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        wire_end(tlsd.sock)
        tlsd.sock.close()
        wait_for(lambda: not alive(engine), "the engine's end")
        os.kill(tlsd.pid, signal.SIGCONT)
        assert tlsd.wait() == 98
        assert "handshake failed: " in fatal_line(tlsd)

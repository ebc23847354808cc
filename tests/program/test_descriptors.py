"""stdin and stdout need not be one socket, and belong to others too."""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct

import pytest

from harness import (ABLE, ENDS, LIMIT, NEWEST, Client, Fifo, Tlsd, keeper, late_alert, offer, one_line, python, stop,
                     tcp_pair, wait_for, wait_quiet, wire_end)

ROLES = ["server", "client"]


class Peer:
    """The other ends of stdin and stdout, which may be two, under the name and the calls of one socket."""

    def __init__(self, to, back):
        self.to, self.back = to, back

    def recv(self, n):
        assert select.select([self.back], [], [], LIMIT)[0], "the program sends nothing"
        return os.read(self.back.fileno(), n)

    def sendall(self, data):
        view = memoryview(data)
        while view:
            assert select.select([], [self.to], [], LIMIT)[1], "the program takes nothing"
            view = view[os.write(self.to.fileno(), view[:4096]):]

    def shutdown(self, how):
        assert how == socket.SHUT_WR
        if isinstance(self.to, socket.socket):
            self.to.shutdown(how)
        else:
            self.to.close()

    def close(self):
        self.to.close()
        self.back.close()


def pipe():
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb", 0), os.fdopen(writer, "wb", 0)


def two_pipes():
    (stdin, to), (back, stdout) = pipe(), pipe()
    return Peer(to, back), stdin, stdout


def socket_and_pipe():
    (to, stdin), (back, stdout) = tcp_pair(), pipe()
    return Peer(to, back), stdin, stdout


def pipe_and_socket():
    (stdin, to), (back, stdout) = pipe(), tcp_pair()
    return Peer(to, back), stdin, stdout


def two_sockets():
    (to, stdin), (back, stdout) = tcp_pair(), tcp_pair()
    return Peer(to, back), stdin, stdout


def unix_socket():
    peer, server = socket.socketpair()
    return Peer(peer, peer), server, server


def duplicated_socket():
    peer, server = tcp_pair()
    return Peer(peer, peer), server, server.dup()


WIRES = [two_pipes, socket_and_pipe, pipe_and_socket, two_sockets, unix_socket, duplicated_socket]


@contextlib.contextmanager
def wired(pki, wires, prog, options=(), version=NEWEST, prepare=None):
    """A Tlsd between other descriptors than usual, and a Client at their other ends."""
    peer, stdin, stdout = wires()
    with contextlib.closing(peer):
        with stdin, stdout:
            if prepare:
                prepare(stdin.fileno(), stdout.fileno())
            tlsd = Tlsd(pki, prog, options, stdin=stdin, stdout=stdout)
        with tlsd:
            yield tlsd, Client(peer, pki, version).handshake()


@pytest.mark.parametrize("close", ENDS)
@pytest.mark.parametrize("wires", WIRES)
def test_bytes_pass_both_ways(pki, blob, version, wires, close):
    """Request, FIN, reply and EOF pass over pipes as over sockets, and nothing complains of what is no socket."""
    size = 300_000
    prog = ["sh", "-c", 'sha256sum; head -c "$1" "$0"; exit 3', blob.path, str(size)]
    with wired(pki, wires, prog, [close], version) as (tlsd, client):
        client.send(memoryview(blob.data)[:size])
        client.fin()
        assert client.read_all() == (blob.sha(size) + "  -\n").encode() + blob.data[:size]
        assert client.end == ENDS[close]
        assert wire_end(client.sock) == "fin"
        client.close()
        assert tlsd.wait() == 3
        assert tlsd.stderr() == ""


@pytest.mark.parametrize("wires", WIRES)
def test_prog_closes_its_stdout_and_reads_on(pki, blob, tmp_path, version, wires):
    """The EOF of one direction leaves the other one open, also where each has its own descriptor."""
    size, sums = 300_000, tmp_path / "sums"
    prog = ["sh", "-c", 'exec >&-; exec sha256sum > "$0"', str(sums)]
    with wired(pki, wires, prog, version=version) as (tlsd, client):
        assert client.read_all() == b""
        assert client.end == "fin"
        client.send(memoryview(blob.data)[:size])
        client.fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""
    assert sums.read_text().split()[0] == blob.sha(size)


@pytest.mark.parametrize("wires", WIRES)
def test_data_and_hangup_together(pki, blob, tmp_path, wires):
    """Data and the end of it, which a pipe tells as one, become known at once: prog gets the data first."""
    taken = tmp_path / "taken"
    with wired(pki, wires, keeper(taken)) as (tlsd, client):
        engine = tlsd.engine()
        wait_quiet(engine)
        stop(engine)
        client.send(memoryview(blob.data)[:30_000])
        client.fin()
        os.kill(engine, signal.SIGCONT)
        assert client.read_all() == b""
        client.close()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")
    assert taken.read_bytes() == blob.data[:30_000]


def nonblocking(*fds):
    for fd in fds:
        os.set_blocking(fd, False)


@pytest.mark.parametrize("prepare", [None, nonblocking])
@pytest.mark.parametrize("wires", WIRES)
def test_full_wire_holds_back_its_own_direction_only(pki, blob, tmp_path, wires, prepare):
    """While the peer reads nothing of a long reply its whole upload still reaches prog, blocking descriptors or not."""
    size, sums = 5_000_000, tmp_path / "sums"
    prog = ["sh", "-c", 'head -c 10000000 "$0" & sha256sum > "$1"; wait', blob.path, str(sums)]
    with wired(pki, wires, prog, prepare=prepare) as (tlsd, client):
        assert client.read_exactly(1) == blob.data[:1]
        client.send(memoryview(blob.data)[:size])
        client.fin()
        wait_for(lambda: sums.exists() and sums.read_text(), "the upload to reach prog")
        assert sums.read_text().split()[0] == blob.sha(size)
        assert client.read_all() == blob.data[1:10_000_000]
        client.close()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""


@pytest.mark.parametrize("wires", WIRES)
def test_peer_goes_in_mid_reply(pki, blob, wires):
    """A peer that closes both directions in the middle of the reply is a failure on every kind of wire: 98."""
    with wired(pki, wires, ["cat", blob.path]) as (tlsd, client):
        client.read_exactly(100_000)
        client.close()
        assert tlsd.wait() == 98
        one_line(tlsd.stderr())


def test_read_error_behind_a_refused_write(pki, tmp_path, version):
    """Where the wire takes no more and then fails to be read, prog, slow to read, gets what came and EOF: 98."""
    go, told = Fifo(tmp_path / "go"), Fifo(tmp_path / "told")
    prog = python("""
go, told = open(sys.argv[1]), open(sys.argv[2], "w", 1)
for _ in range(2):
    go.readline()
    try:
        os.write(1, bytes(1000))
    except BrokenPipeError:
        pass
go.readline()
told.write(f"{len(sys.stdin.buffer.read())}\\n")
""", go.path, told.path)
    with wired(pki, unix_socket, prog, version=version) as (tlsd, client):
        peer = client.sock.to
        wait_quiet(tlsd.engine())
        while select.select([peer], [], [], 0)[0]:
            client.fill()  # a session ticket
        taken = offer(peer, client.encrypt(bytes(400_000)))
        go.put()
        assert select.select([peer], [], [], LIMIT)[0], "prog's first words do not arrive"
        client.close()  # without having read them, which is what makes the end an error
        go.put()
        wait_quiet(tlsd.engine())
        go.put()
        assert 65536 < int(told.get()) <= taken
        assert tlsd.wait() == 98
        assert "the connection was reset" in one_line(tlsd.stderr())


@pytest.mark.parametrize("wires", WIRES)
def test_bad_record_is_answered(pki, version, wires):
    """The alert and the end of the wire reach the peer on every kind of wire: 98."""
    with wired(pki, wires, ["cat"], version=version) as (tlsd, client):
        client.sock.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
        assert client.read_all() == b""
        # Only TCP can be reset, which stands for the alert where there is none.
        assert client.end in (late_alert("SSLV3_ALERT_BAD_RECORD_MAC"), "fin")
        assert ABLE.late_alerts == client.end.startswith("alert: ")
        if client.end != "reset":
            assert wire_end(client.sock) == "fin"
        client.close()
        assert tlsd.wait() == 98
        one_line(tlsd.stderr())


def flags_of(files):
    return [fcntl.fcntl(f, fcntl.F_GETFL) for f in files]


def ends_well(tlsd, client):
    client.fin()
    assert tlsd.wait() == 0


def kill_the_engine(tlsd, client):
    os.kill(tlsd.engine(), signal.SIGKILL)
    assert tlsd.wait() == 98


def kill_both(tlsd, client):
    engine = tlsd.engine()
    os.kill(tlsd.pid, signal.SIGSTOP)
    os.kill(engine, signal.SIGKILL)
    os.kill(tlsd.pid, signal.SIGKILL)
    assert tlsd.wait() == -signal.SIGKILL


@pytest.mark.parametrize("end", [ends_well, kill_the_engine, kill_both])
@pytest.mark.parametrize("prepare", [None, nonblocking])
@pytest.mark.parametrize("wires", WIRES)
def test_no_flag_stays_changed(pki, wires, prepare, end):
    """Whoever shares the descriptions finds their flags as they were, even after a kill in the middle of the work."""
    peer, *ours = wires()
    with contextlib.closing(peer), ours[0], ours[1]:
        if prepare:
            prepare(*(f.fileno() for f in ours))
        before = flags_of(ours)
        with Tlsd(pki, ["cat"], stdin=ours[0], stdout=ours[1]) as tlsd:
            client = Client(peer, pki).handshake()
            client.send(b"hello")
            assert client.read_exactly(5) == b"hello"
            end(tlsd, client)
        assert flags_of(ours) == before


@pytest.mark.parametrize("linger", [(0, 0), (1, 7), (1, 0)], ids=str)
def test_linger_of_the_socket_is_as_before(pki, version, close, linger):
    """After a normal end whoever shares the socket finds SO_LINGER as it was."""
    def found():
        return struct.unpack("ii", server.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))

    peer, server = tcp_pair()
    with peer, server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", *linger))
        with Tlsd(pki, ["echo", "x"], [close], stdin=server, stdout=server) as tlsd:
            wait_for(lambda: found() == (1, 0), "an engine whose death would not look like a proper end")
            client = Client(peer, pki, version).handshake()
            assert client.read_all() == b"x\n"
            client.fin()
            assert (tlsd.wait(), tlsd.stderr()) == (0, "")
        assert found() == linger

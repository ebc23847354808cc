"""s6-tlsserver: data and ends, both ways, where pipes that come to an engine late could make a difference.

The engine is that of s6-tlsd, and the rest of what may happen is in test_close.py.
"""

import contextlib
import hashlib
import os
import signal
import socket
import ssl

import pytest

from harness import ABLE, ENDS, Blob, Fifo, keeper, late_alert, stop, wait_quiet
from server import echoed, leave, serving

SIZE = 3_000_000


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Blob(tmp_path_factory.mktemp("small") / "blob", SIZE)


def code_of(server, client):
    """The exit code of the client's connection, once that is over."""
    return server.event("end", peer=client.peername)["code"]


@pytest.mark.parametrize("size", [0, 1, 16384, 65537, SIZE])
def test_answer_is_whole(pki, small, version, close, size):
    """prog writes and exits at once: the client gets exactly that, and the end that -s or -S says."""
    option, end = close, ENDS[close]
    with serving(pki, small.head(size), [option]) as server:
        for _ in range(3):
            client = server.client(version)
            assert hashlib.sha256(client.read_all()).hexdigest() == small.sha(size)
            assert client.end == end
            client.close()
            assert code_of(server, client) == "0"


def test_last_flight_with_data_and_fin(pki, tmp_path, version):
    """Data and FIN that come in one piece with the end of the handshake, before prog runs, reach it whole."""
    data = os.urandom(200_000)
    with serving(pki, ["sha256sum"]) as server:
        for size in 0, 1, 5000, len(data):
            client = server.begin(version)
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    client.tls.do_handshake()
                    break
                client.flush()
                assert client.fill()
            last = client.outbound.read()
            client.sock.sendall(last + client.encrypt(data[:size]))
            client.fin()
            assert client.read_all().split()[0].decode() == hashlib.sha256(data[:size]).hexdigest()
            client.close()
            assert code_of(server, client) == "0"


def test_client_ends_before_prog_runs(pki, tmp_path, version):
    """A client that closes as soon as it has sent all: prog gets every byte, then EOF."""
    taken, told = tmp_path / "taken", Fifo(tmp_path / "told")
    data = os.urandom(50_000)
    with serving(pki, ["sh", "-c", 'cat >"$0"; echo eof >"$1"', str(taken), told.path]) as server:
        for end in "fin", "close_notify", "close":
            client = server.client(version)
            records = client.encrypt(data)
            if end == "close_notify":
                records += client.close_notify(send=False)
            client.sock.sendall(records)
            client.close() if end != "fin" else client.fin()
            assert told.get() == "eof"
            assert taken.read_bytes() == data
            if end == "fin":
                assert client.read_all() == b""
            client.close()
            server.event("end", peer=client.peername)


def test_client_resets_before_prog_runs(pki, tmp_path, version):
    """prog runs or it does not; if it does, it reads EOF; one warning, 98, and nothing is left."""
    with serving(pki, ["cat"]) as server:
        for _ in range(5):
            client = server.client(version)
            client.reset()
            assert code_of(server, client) == "98"
            server.warning(f"peer={client.peername} ")
        server.at_rest()


def test_client_says_its_last_word_before_prog_has_its_pipes(pki, version):
    """prog gets the client's bytes and EOF, and where its answer is not wanted any more, that is told to it as well."""
    with serving(pki, ["sh", "-c", "wc -c; head -c 1000000 /dev/zero; exit 3"]) as server:
        client = server.begin(version)
        engine = int(server.event("accept", peer=client.peername)["pid"])
        stop(server.pid)
        client.handshake()
        client.send(b"hello")
        client.close_notify()
        wait_quiet(engine)
        os.kill(server.pid, signal.SIGCONT)
        assert client.read_all() == (b"5\n" + bytes(1_000_000) if ABLE.replies_after_close_notify else b"")
        client.close()
        assert code_of(server, client) == "3"


def test_upload_is_whole(pki, small, version):
    """The client sends, half closes, and reads the answer."""
    with serving(pki, ["sha256sum"]) as server:
        client = server.client(version)
        assert client.exchange(small.data) == b""
        client.fin()
        assert client.read_all().split()[0].decode() == small.sha(SIZE)
        client.close()


def test_both_ways_at_once(pki, small, version):
    with serving(pki, ["cat"]) as server:
        clients = [server.client(version) for _ in range(3)]
        for client in clients:
            got = client.exchange(small.data)
            client.fin()
            assert got + client.read_all() == small.data
            client.close()


def test_answer_after_half_close(pki, tmp_path, small, version):
    """A FIN in mid-request: prog reads EOF, and its whole reply, later, in pieces, is still sent."""
    go = Fifo(tmp_path / "go")
    text = 'cat >/dev/null; read _ <"$0"; head -c 1000000 "$1"; tail -c +1000001 "$1"'
    prog = ["sh", "-c", text, go.path, small.path]
    with serving(pki, prog) as server:
        client = server.client(version)
        client.send(b"request")
        client.fin()
        wait_quiet(server.engine(client))
        go.put()
        assert client.read_all() == small.data
        client.close()
        assert code_of(server, client) == "0"


def test_prog_closes_its_stdout(pki, tmp_path, version, close):
    """It is the end of its output, whatever it does then; under -s the upload still arrives."""
    option, end = close, ENDS[close]
    told = Fifo(tmp_path / "told")
    prog = ["sh", "-c", 'echo hi; exec >&-; cat | sha256sum >"$0"', told.path]
    data = os.urandom(300_000)
    with serving(pki, prog, [option]) as server:
        client = server.client(version)
        assert client.read_all() == b"hi\n" and client.end == end
        if option == "-s":
            client.send(data)
            client.fin()
            assert told.get().split()[0] == hashlib.sha256(data).hexdigest()
        else:
            client.close()
            told.get()
        client.close()
        server.event("end", peer=client.peername)


def test_prog_closes_its_stdin(pki, tmp_path, version):
    """Its output still flows, whatever the client sends, and nobody spins."""
    go = Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'exec <&-; for n in 1 2 3; do read _ <"$0"; echo $n; done', go.path]
    with serving(pki, prog) as server:
        client = server.client(version)
        for n in 1, 2, 3:
            client.send(bytes(100_000))
            wait_quiet(server.pid, server.engine(client))
            go.put()
            assert client.read_exactly(2) == b"%d\n" % n
        client.read_all()
        client.close()
        assert code_of(server, client) == "0"


def test_prog_closes_both(pki, tmp_path, version):
    """A prog that leaves is waited for: its connection counts until it ends."""
    go = Fifo(tmp_path / "go")
    with serving(pki, ["sh", "-c", 'exec <&- >&-; read _ <"$0"; exit 7', go.path], ["-c1"]) as server:
        client = server.client(version)
        assert client.read_all() == b""
        client.close()
        wait_quiet(server.pid)
        assert server.live() == 1
        go.put()
        assert code_of(server, client) == "7"


def test_grandchild_keeps_the_pipe(pki, tmp_path, version):
    """A grandchild that has prog's stdout keeps nobody: the connection is over when prog is."""
    go = Fifo(tmp_path / "go")
    with serving(pki, ["sh", "-c", '(exec </dev/null; read _ <"$0") & echo hi', go.path]) as server:
        client = server.client(version)
        assert client.read_all() == b"hi\n"
        client.close()
        assert code_of(server, client) == "0"
        go.release()


def test_exit_codes(pki, version):
    """prog's own is in the line about the end, and the server goes on."""
    with serving(pki, ["sh", "-c", "read n; exit $n"]) as server:
        for code, told in (0, "0"), (1, "1"), (127, "127"), (200, "128"):
            client = server.client(version)
            client.send(b"%d\n" % code)
            client.read_all()
            client.close()
            assert code_of(server, client) == told


@pytest.mark.parametrize("options, code", [(["-J"], "98"), ([], "0")])
def test_end_without_close_notify(pki, version, options, code):
    """-J makes a FIN alone an error."""
    with serving(pki, ["cat"], options) as server:
        client = server.client(version)
        assert echoed(client)
        client.fin()
        client.read_all()
        client.close()
        assert code_of(server, client) == code
        if code == "98":
            server.warning(f"peer={client.peername} ")


def test_wire_is_cut_inside_a_record(pki, tmp_path, version):
    """prog gets what came whole, and EOF; 98, one warning."""
    with serving(pki, keeper(tmp_path / "taken")) as server:
        client = server.client(version)
        client.sock.sendall(client.encrypt(b"whole") + client.encrypt(b"cut")[:-1])
        client.fin()
        client.read_all()
        client.close()
        assert code_of(server, client) == "98"
        server.warning(f"peer={client.peername} .*cut inside a record")
        assert (tmp_path / "taken").read_bytes() == b"whole"


def test_bad_record(pki, version):
    """The client is told where the backend can; other connections do not notice."""
    with serving(pki, ["cat"], ["--linger=500"]) as server:
        bad, good = server.client(version), server.client(version)
        assert echoed(bad)
        bad.sock.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
        bad.read_all()
        assert bad.end.startswith(late_alert())
        bad.close()
        assert code_of(server, bad) == "98"
        server.warning(f"peer={bad.peername} ")
        assert echoed(good)
        leave(good)


def test_client_that_does_not_read(pki, small, version):
    """One that takes nothing holds its own prog back, and nobody else."""
    with serving(pki, ["cat", small.path]) as server:
        slow = server.client(version)
        server.prog(slow)
        assert [server.ask(version) == small.data for _ in range(3)] == [True] * 3
        assert slow.read_all() == small.data
        slow.close()
        assert code_of(server, slow) == "0"


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", bytes(1000),
                                  b"\x16\x03\x01\xff\xff"])
def test_no_tls(pki, junk):
    """What is no TLS is over with one short line, 98, and no prog."""
    with serving(pki, ["sh", "-c", "echo prog ran >&2"], ["--linger=500"]) as server:
        with server.connect() as sock:
            peer = "{}:{}".format(*sock.getsockname())
            sock.sendall(junk)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(1 << 16):
                    pass
        assert server.event("end", peer=peer)["code"] == "98"
        assert len(server.warning(f"peer={peer} (.*)$")[1]) < 200
        assert "prog ran" not in server.text()

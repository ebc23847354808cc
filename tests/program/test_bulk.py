"""Every byte arrives, in order, whatever the size, the speed and the way the transfer ends; memory stays bounded."""

import contextlib
import time

import pytest

from harness import BUFFERS_KB, ENDS, Fifo, anonymous_kb, leave, measures_memory, offer, python, session, wait_quiet

ROLES = ["server", "client"]

SIZES = [0, 1, 5, 16383, 16384, 16385, 65536, 65537, 2_000_000, 50_000_000]


def assert_whole(client, blob, size, close, got=None):
    """The client reads exactly the blob's first `size` bytes, then the end that `close` stands for."""
    got = client.read_all() if got is None else got
    assert len(got) == size
    assert got == memoryview(blob.data)[:size]
    assert client.end == ENDS[close]


@pytest.mark.parametrize("size", SIZES)
def test_prog_writes_and_exits(pki, blob, version, close, size):
    """Everything that prog wrote before it exits reaches a client that reads at once."""
    with session(pki, blob.head(size), [close], version) as (tlsd, client):
        assert_whole(client, blob, size, close)
        leave(tlsd, client)


def test_client_reads_late(pki, blob, version, close):
    """Everything that prog wrote, little or much, waits for a client that begins to read half a second later."""
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(session(pki, blob.head(size), [close], version)) for size in SIZES]
        time.sleep(0.5)
        for size, (tlsd, client) in zip(SIZES, sessions):
            assert_whole(client, blob, size, close)
            leave(tlsd, client)


def read_slowly(client):
    """All that comes, in small pieces with a rest behind each."""
    got = []
    while data := client.read():
        got.append(data)
        time.sleep(0.0005)
    return b"".join(got)


# test_memory_is_bounded_when_the_client_does_not_read has 50 MB pass through such a buffer.
@pytest.mark.parametrize("size", SIZES[:-1])
def test_client_reads_slowly(pki, blob, version, close, size):
    """Everything arrives through a receive buffer of 4 kB that is emptied slowly."""
    with session(pki, blob.head(size), [close], version, rcvbuf=4096) as (tlsd, client):
        assert_whole(client, blob, size, close, read_slowly(client))
        leave(tlsd, client)


@contextlib.contextmanager
def behind_an_upload(pki, blob, folder, size, close, version, **kw):
    """A session whose client has sent 200 kB, which prog never reads before it writes `size` bytes and exits."""
    go = Fifo(folder / f"go-{size}")
    prog = ["sh", "-c", 'read _ < "$0"; exec "$@"', go.path, *blob.head(size)]
    with session(pki, prog, [close], version, **kw) as (tlsd, client):
        client.send(bytes(200_000))
        go.put()
        yield tlsd, client


@pytest.mark.parametrize("size", SIZES)
def test_reply_survives_an_upload_that_prog_never_reads(pki, blob, tmp_path, version, close, size):
    """200 kB that nobody read do not turn the end of the connection into a reset that destroys the reply."""
    with behind_an_upload(pki, blob, tmp_path, size, close, version) as (tlsd, client):
        assert_whole(client, blob, size, close)
        leave(tlsd, client)


@pytest.mark.parametrize("slow", [False, True], ids=["late", "slowly"])
def test_reply_behind_such_an_upload_waits_for_its_reader(pki, blob, tmp_path, version, slow):
    """Nor where the client reads late, or slowly; under -s and -S in turn."""
    sizes, rcvbuf = (SIZES[:-1], 4096) if slow else (SIZES, None)
    closes = (list(ENDS) if version == "1.2" else list(ENDS)[::-1]) * len(sizes)
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(behind_an_upload(pki, blob, tmp_path, size, close, version, rcvbuf=rcvbuf))
                    for size, close in zip(sizes, closes)]
        time.sleep(0.5)
        for size, close, (tlsd, client) in zip(sizes, closes, sessions):
            assert_whole(client, blob, size, close, read_slowly(client) if slow else None)
            leave(tlsd, client)


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 300_000, 5_000_000, 50_000_000])
def test_upload_arrives_whole(pki, blob, version, size):
    """prog reads exactly what the client sent before its FIN."""
    with session(pki, ["sha256sum"], version=version) as (tlsd, client):
        client.send(memoryview(blob.data)[:size])
        client.fin()
        assert client.read_all() == (blob.sha(size) + "  -\n").encode()
        leave(tlsd, client)


def test_both_ways_at_once(pki, blob, tmp_path, version, close):
    """50 MB each way at the same time: no deadlock and no byte lost."""
    sums = tmp_path / "sums"
    prog = ["sh", "-c", 'cat "$0" & sha256sum > "$1"; wait', blob.path, str(sums)]
    with session(pki, prog, [close], version) as (tlsd, client):
        got = client.exchange(blob.data)
        client.fin()
        got += client.read_all()
        assert got == blob.data
        assert client.end == ENDS[close]
        leave(tlsd, client)
    assert sums.read_text().split()[0] == blob.sha(50_000_000)


def test_both_sides_write_before_they_read(pki, blob, version):
    """Each side writes 100 kB before it reads the other's 100 kB, thirty times: the buffers between hold that much."""
    size, turns = 100_000, 30
    prog = python(f"""
data = open(sys.argv[1], "rb").read({size * turns})
for at in range(0, len(data), {size}):
    sys.stdout.buffer.write(data[at:at + {size}])
    sys.stdout.buffer.flush()
    if sys.stdin.buffer.read({size}) != data[at:at + {size}]:
        sys.exit(1)
""", blob.path)
    with session(pki, prog, version=version) as (tlsd, client):
        for at in range(0, size * turns, size):
            client.send(blob.data[at:at + size])
            assert client.read_exactly(size) == blob.data[at:at + size]
        assert client.read_all() == b""
        leave(tlsd, client)


def test_prog_takes_up_reading_again(pki, blob, tmp_path, version):
    """What was held back while prog did not read reaches it although the wire is quiet from then on."""
    size = 200_000
    go = Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'read _ < "$0"; head -c "$1" | sha256sum', go.path, str(size)]
    with session(pki, prog, version=version) as (tlsd, client):
        client.send(memoryview(blob.data)[:size])
        wait_quiet(tlsd.engine())
        go.put()
        assert client.read_all() == (blob.sha(size) + "  -\n").encode()
        leave(tlsd, client)


def test_small_records_in_one_segment_all_arrive(pki, version):
    """Plaintext that waits inside the TLS library is delivered although the socket says nothing more."""
    with session(pki, ["head", "-c", "20000"], version=version) as (tlsd, client):
        client.sock.sendall(b"".join(client.encrypt(bytes([n]) * 100) for n in range(200)))
        assert client.read_exactly(20000) == b"".join(bytes([n]) * 100 for n in range(200))
        assert client.read_all() == b""
        leave(tlsd, client)


@measures_memory
def test_memory_is_bounded_when_prog_does_not_read(pki, blob, tmp_path, version):
    """A client that sends 60 MB is held back, in less than 1 MiB of buffers, until prog reads; then all arrives."""
    go = Fifo(tmp_path / "go")
    with session(pki, ["sh", "-c", 'read _ < "$0"; wc -c', go.path], version=version) as (tlsd, client):
        tlsd.prog()
        pids = tlsd.pid, tlsd.engine()
        wait_quiet(*pids)
        before = [anonymous_kb(pid) for pid in pids]
        records = memoryview(client.encrypt(blob.data + bytes(10_000_000)))
        sent = offer(client.sock, records)
        assert 0 < sent < len(records)
        wait_quiet(*pids)
        assert sum(map(anonymous_kb, pids)) - sum(before) < BUFFERS_KB
        go.put()
        client.sock.sendall(records[sent:])
        client.fin()
        assert client.read_all() == b"60000000\n"
        leave(tlsd, client)


@measures_memory
def test_memory_is_bounded_when_the_client_does_not_read(pki, blob, tmp_path, version):
    """A prog that writes 50 MB is held back, in less than 1 MiB of buffers, until the client reads; all arrives."""
    go = Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'read _ < "$0"; exec cat "$1"', go.path, blob.path]
    with session(pki, prog, version=version, rcvbuf=4096) as (tlsd, client):
        writer = tlsd.prog()
        pids = tlsd.pid, tlsd.engine()
        wait_quiet(*pids)
        before = [anonymous_kb(pid) for pid in pids]
        go.put()
        assert client.read_exactly(1) == blob.data[:1]
        wait_quiet(*pids, writer)
        assert tlsd.prog() == writer
        assert sum(map(anonymous_kb, pids)) - sum(before) < BUFFERS_KB
        got = client.read_all()
        assert b"%c" % blob.data[0] + got == blob.data
        leave(tlsd, client)

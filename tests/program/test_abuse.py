"""Peers and progs with odd habits: many tiny pieces, floods of records that carry nothing, renegotiation."""

import contextlib
import socket

import pytest

from harness import (ABLE, BUFFERS_KB, SANITIZED, VERSIONS, alive, anonymous_kb, cpu_ms, fatal_line, keeper, late_alert,
                     leave, measures_memory, needs_tls13, offer, python, session, tcp_pair, wait_for, wait_quiet)
from records import ALERT, DATA, HANDSHAKE, KEY_UPDATE_REQUESTED, forging

COUNT = 10_000

# What a record of a flood may cost, in ms of CPU.
RECORD_MS = 0.1


@pytest.mark.both_roles
def test_one_byte_writes(pki, version):
    """10,000 writes of one byte by prog arrive as 10,000 bytes."""
    prog = python(f"for n in range({COUNT}): os.write(1, bytes([n % 251]))")
    with session(pki, prog, version=version) as (tlsd, client):
        assert client.read_all() == bytes(n % 251 for n in range(COUNT))
        leave(tlsd, client)


@pytest.mark.both_roles
def test_one_byte_records(pki, tmp_path, version):
    """10,000 records of one byte by the client arrive as 10,000 bytes."""
    taken = tmp_path / "taken"
    data = bytes(n % 251 for n in range(COUNT))
    with session(pki, keeper(taken), version=version) as (tlsd, client):
        client.sock.sendall(b"".join(client.encrypt(data[n:n + 1]) for n in range(COUNT)))
        client.fin()
        assert client.read_all() == b""
        leave(tlsd, client)
    assert taken.read_bytes() == data


@pytest.mark.both_roles
def test_one_byte_segments(pki, version):
    """Records that come a byte at a time are put together."""
    with session(pki, ["cat"], version=version) as (tlsd, client):
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in client.encrypt(bytes(range(256)) * 4) + client.encrypt(b"end"):
            client.sock.send(bytes([byte]))
        assert client.read_exactly(1027) == bytes(range(256)) * 4 + b"end"
        client.fin()
        assert client.read_all() == b""
        leave(tlsd, client)


# -- floods ------------------------------------------------------------------

def empty_record(forger):
    return forger.record(DATA, b"")


def user_canceled(forger):
    return forger.record(ALERT, b"\x01\x5a")


def key_update(forger):
    return forger.key_update()


def key_update_requested(forger):
    return forger.key_update(KEY_UPDATE_REQUESTED)


def session_ticket(forger):
    """Of RFC 8446, 4.6.1: lifetime, age, nonce, ticket, extensions."""
    return forger.record(HANDSHAKE, b"\x04\x00\x00\x10" + b"\x00\x00\x0e\x10" + bytes(4) + b"\x01n\x00\x02xx\x00\x00")


def hello_request(forger, count=1, part=slice(None)):
    return forger.record(HANDSHAKE, (bytes(4) * count)[part])


def client_hello(forger, count=1, part=slice(None)):
    """As little of one as a server has to look at: no extension, one cipher suite. So many of them, or part of that."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x2b" + b"\x01\x00"
    return forger.record(HANDSHAKE, ((b"\x01" + len(body).to_bytes(3, "big") + body) * count)[part])


def known(**roles):
    """What comes to a server, and what to a client, of a version that the backend knows."""
    return [(role, *case) for role, cases in roles.items() for case in cases if case[0] in VERSIONS]


ANYBODYS = [
    ("1.2", empty_record), ("1.2", user_canceled), ("1.2", session_ticket), ("1.2", hello_request),
    ("1.3", empty_record), ("1.3", user_canceled), ("1.3", key_update), ("1.3", key_update_requested),
    ("1.3", session_ticket),
]
FLOODS = known(server=[*ANYBODYS, ("1.2", client_hello), ("1.3", client_hello)], client=ANYBODYS)


@pytest.mark.parametrize("role, version, kind", FLOODS, indirect=["role"])
def test_flood_is_survived_or_refused(pki, tmp_path, version, kind):
    """A flood of records without data passes at little cost, or is refused, with an alert where there are any: 98.

    No data is lost to it. (Or the client, which reads a refusal into the answer to its hello, leaves with a reset.)
    """
    taken = tmp_path / "taken"
    with forging(pki, keeper(taken), version, tmp_path) as (tlsd, client, forger):
        engine = tlsd.engine()
        wait_quiet(engine)
        cpu, memory = cpu_ms(engine), anonymous_kb(engine)
        client.sock.sendall(forger.record(DATA, b"before") + b"".join(kind(forger) for _ in range(COUNT)) +
                            forger.record(DATA, b"behind"))
        wait_for(lambda: not alive(engine) or (taken.exists() and taken.read_bytes() == b"beforebehind"),
                 "the end of the flood")
        if alive(engine) and not SANITIZED:
            assert cpu_ms(engine) - cpu < COUNT * RECORD_MS
            assert anonymous_kb(engine) - memory < BUFFERS_KB
        with contextlib.suppress(OSError):
            client.fin()  # unless it was reset
        assert client.read_all() == b""
        client.close()
        refused = tlsd.wait() != 0
        if refused:
            assert tlsd.wait() == 98
            assert client.end.startswith(("alert: ", late_alert()))
            fatal_line(tlsd)
        else:
            assert tlsd.stderr() == ""
    assert taken.read_bytes() in ([b"before", b"beforebehind"] if refused else [b"beforebehind"])


@measures_memory
@pytest.mark.parametrize("role, version, kind", known(
    server=[("1.2", client_hello), ("1.3", key_update_requested)],
    client=[("1.2", hello_request), ("1.3", key_update_requested)]), indirect=["role"])
def test_flood_that_wants_answers_costs_no_memory(pki, tmp_path, version, kind):
    """A peer that provokes answers and reads none of them is held back, in less than 1 MiB of buffers."""
    peer, server = tcp_pair(4096)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with peer, server, forging(pki, ["cat"], version, tmp_path, stdin=server, stdout=server, sock=peer) as (
            tlsd, client, forger):
        server.close()
        engine = tlsd.engine()
        wait_quiet(engine)
        before = anonymous_kb(engine)
        offer(peer, forger.record(DATA, b"x") + b"".join(kind(forger) for _ in range(45_000)))
        wait_quiet(engine)
        assert alive(engine)
        assert anonymous_kb(engine) - before < BUFFERS_KB


MIXED = [("1.2", empty_record), ("1.3", empty_record), ("1.3", key_update), ("1.3", key_update_requested)]


@pytest.mark.parametrize("role, version, kind", known(server=MIXED, client=[*MIXED, ("1.3", session_ticket)]),
                         indirect=["role"])
def test_records_without_data_among_others(pki, tmp_path, version, kind):
    """A record without data between any two that carry some is ordinary traffic, a thousand times."""
    taken = tmp_path / "taken"
    data = bytes(n % 251 for n in range(1000))
    with forging(pki, keeper(taken), version, tmp_path) as (tlsd, client, forger):
        client.sock.sendall(b"".join(forger.record(DATA, data[n:n + 1]) + kind(forger) for n in range(1000)))
        client.fin()
        assert client.read_all() == b""
        leave(tlsd, client)
    assert taken.read_bytes() == data


@pytest.mark.parametrize("role", ["server", "client"] if ABLE.tls13 else ["server"], indirect=True)
@needs_tls13
def test_key_updates_are_requested_while_prog_writes(pki, blob, tmp_path):
    """prog's output goes on, whole, under the keys that the client has asked for meanwhile."""
    size = 5_000_000
    with forging(pki, blob.head(size), "1.3", tmp_path) as (tlsd, client, forger):
        got = b""
        for _ in range(50):
            client.sock.sendall(forger.key_update(KEY_UPDATE_REQUESTED))
            got += client.read_exactly(50_000)
        got += client.read_all()
        assert got == blob.data[:size]
        assert client.end == "fin"
        leave(tlsd, client)


def test_renegotiation_is_refused(pki, tmp_path):
    """A TLS 1.2 client that wants to renegotiate is told no, and what it sends behind that still arrives."""
    taken = tmp_path / "taken"
    with forging(pki, keeper(taken), "1.2", tmp_path) as (tlsd, client, forger):
        client.sock.sendall(forger.record(DATA, b"before") + client_hello(forger) + forger.record(DATA, b"behind"))
        assert client.read() == b""
        assert client.end == "alert: NO_RENEGOTIATION"
        client.fin()
        leave(tlsd, client)
    assert taken.read_bytes() == b"beforebehind"


@pytest.mark.parametrize("role", ["client"], indirect=True)
def test_request_to_renegotiate_is_refused(pki, tmp_path):
    """Nor does a client do so for a TLS 1.2 server, and what that sends behind its request still arrives."""
    taken = tmp_path / "taken"
    with forging(pki, keeper(taken), "1.2", tmp_path) as (tlsd, client, forger):
        client.sock.sendall(forger.record(DATA, b"before") + hello_request(forger) + forger.record(DATA, b"behind"))
        client.fin()
        assert client.read_all() == b""
        leave(tlsd, client)
    assert taken.read_bytes() == b"beforebehind"


# Speaks, and tells by a file when that was taken; then it keeps what it reads.
SPEAKS_MEANWHILE = """
import array, fcntl, termios
os.read(0, 1)
os.write(1, b"meanwhile")
waiting = array.array("i", [1])
while waiting[0]:
    fcntl.ioctl(1, termios.FIONREAD, waiting)
open(sys.argv[1], "w").close()
with open(sys.argv[2], "wb") as taken:
    while data := os.read(0, 100):
        taken.write(data)
"""


@pytest.mark.parametrize("role, kind", [("server", client_hello), ("client", hello_request)], indirect=["role"])
def test_prog_speaks_while_a_renegotiation_is_wished(pki, tmp_path, kind):
    """Half of a wish may keep back what prog says, but not the other half, nor what the peer says behind that."""
    told, taken = tmp_path / "told", tmp_path / "taken"
    with forging(pki, python(SPEAKS_MEANWHILE, told, taken), "1.2", tmp_path) as (tlsd, client, forger):
        client.sock.sendall(forger.record(DATA, b".") + kind(forger, part=slice(2)))
        wait_for(told.exists, "what prog says to be taken")
        client.sock.sendall(kind(forger, part=slice(2, None)) + forger.record(DATA, b"behind"))
        client.fin()
        client.read_all()
        leave(tlsd, client)
    assert taken.read_bytes() == b"behind"


@pytest.mark.parametrize("role, kind", [("server", client_hello), ("client", hello_request)], indirect=["role"])
def test_renegotiations_in_one_record_hold_nobody(pki, tmp_path, kind):
    """Two wishes to renegotiate in one record are refused or end the connection, of which no peer's end is missed."""
    taken = tmp_path / "taken"
    with forging(pki, keeper(taken), "1.2", tmp_path) as (tlsd, client, forger):
        client.sock.sendall(forger.record(DATA, b"before") + kind(forger, 2) + forger.record(DATA, b"behind"))
        with contextlib.suppress(OSError):
            client.fin()  # unless it was reset
        assert client.read_all() == b""
        client.close()
        refused = tlsd.wait() != 0
        if refused:
            assert tlsd.wait() == 98
            fatal_line(tlsd)
    assert taken.read_bytes() == (b"before" if refused else b"beforebehind")

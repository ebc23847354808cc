"""Connections that fail: cut, reset, broken, killed. prog gets what came before; a cut answer never looks complete."""

import fcntl
import os
import signal
import socket
import ssl
import termios

import pytest

from harness import (ENDS, FILL, Client, Fifo, Tlsd, alive, fatal_line, keeper, late_alert, leave, make_identity,
                     python, session, too_old, wait_for, wait_quiet, wire_end)

ROLES = ["server", "client"]

RECORD = 3000
BAD_RECORD = b"\x17\x03\x03\x00\x40" + bytes(64)


# -- reset -------------------------------------------------------------------

def test_client_resets_while_prog_writes(pki, blob, tmp_path, version):
    """A RST in the middle of the reply: prog gets EPIPE, then EOF; 98, told once."""
    told = Fifo(tmp_path / "told")
    prog = python("""
told = open(sys.argv[2], "w", 1)
data = memoryview(open(sys.argv[1], "rb").read())
try:
    while data:
        data = data[os.write(1, data):]
except BrokenPipeError:
    told.write("EPIPE\\n")
told.write("EOF\\n" if os.read(0, 1) == b"" else "data\\n")
""", blob.path, told.path)
    with session(pki, prog, version=version) as (tlsd, client):
        client.read_exactly(1_000_000)
        client.reset()
        assert [told.get(), told.get()] == ["EPIPE", "EOF"]
        assert tlsd.wait() == 98
        fatal_line(tlsd)


def test_client_resets_while_prog_reads(pki, blob, tmp_path, version):
    """A RST in the middle of the upload: prog gets EOF, then EPIPE; 98, told once."""
    told = Fifo(tmp_path / "told")
    prog = python("""
told = open(sys.argv[1], "w", 1)
while os.read(0, 65536):
    pass
told.write("EOF\\n")
try:
    while True:
        os.write(1, b"too late")
except BrokenPipeError:
    told.write("EPIPE\\n")
""", told.path)
    with session(pki, prog, version=version) as (tlsd, client):
        client.send(memoryview(blob.data)[:1_000_000])
        client.reset()
        assert [told.get(), told.get()] == ["EOF", "EPIPE"]
        assert tlsd.wait() == 98
        fatal_line(tlsd)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_reset_while_prog_writes_and_does_not_read(pki, tmp_path, version, end):
    """All that came before a RST waits for a prog that does not read: no turn for nothing meanwhile, no byte lost."""
    size, go, told = 400_000, Fifo(tmp_path / "go"), Fifo(tmp_path / "told")
    prog = python("""
import time
go, told = open(sys.argv[1]), open(sys.argv[2], "w", 1)
go.readline()
try:
    while True:
        os.write(1, bytes(1000))
        time.sleep(0.002)
except BrokenPipeError:
    told.write("EPIPE\\n")
go.readline()
told.write(f"{len(sys.stdin.buffer.read())}\\n")
""", go.path, told.path)
    with session(pki, prog, version=version) as (tlsd, client):
        engine = tlsd.engine()
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(bytes(size))
        wait_for(lambda: fcntl.ioctl(client.sock, termios.TIOCOUTQ, bytes(4)) == bytes(4), "the data to be taken")
        wait_quiet(engine)
        client.close() if end == "close" else client.reset()
        go.put()
        assert told.get() == "EPIPE"
        wait_quiet(engine)
        assert alive(engine)
        go.put()
        assert told.get() == str(size)
        assert tlsd.wait() == 98
        assert "the connection was reset" in fatal_line(tlsd)


# -- cut ---------------------------------------------------------------------

@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("at", [1, 4, 5, 6, RECORD // 2, -1])
def test_cut_inside_a_record(pki, blob, tmp_path, version, at, end):
    """When the wire ends inside a record prog gets all the whole ones before it, and the exit code is 98."""
    taken = tmp_path / "taken"
    with session(pki, keeper(taken), ["-S"], version) as (tlsd, client):
        # What Nagle's algorithm holds back would go with the reset, unsent.
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        records = [client.encrypt(blob.data[n * RECORD:(n + 1) * RECORD]) for n in range(4)]
        client.sock.sendall(b"".join(records[:3]) + records[3][:at])
        if end == "fin":
            client.fin()
            assert client.read_all() == b""
            assert client.end == "reset"
        else:
            client.reset()
        assert tlsd.wait() == 98
        fatal_line(tlsd)
    assert taken.read_bytes() == blob.data[:3 * RECORD]


@pytest.mark.parametrize("behind", ["close_notify", "bad record"])
@pytest.mark.parametrize("size", [70_000, 131_500, 150_000, 200_000])
def test_what_the_last_bytes_are_followed_by_is_judged(pki, blob, tmp_path, version, size, behind):
    """What stands between bytes that prog is slow to take and the FIN, which is there already, is not passed over."""
    taken, go = tmp_path / "taken", Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'read -r _ < "$0"; exec cat > "$1"', go.path, str(taken)]
    with session(pki, prog, ["-J"], version) as (tlsd, client):
        data = client.encrypt(blob.data[:size])
        last = client.close_notify(send=False) if behind == "close_notify" else BAD_RECORD
        client.sock.sendall(data + last)
        client.fin()
        wait_quiet(tlsd.engine())
        go.put()
        assert tlsd.wait() == (0 if behind == "close_notify" else 98)
        assert "close_notify" not in tlsd.stderr()
        assert taken.read_bytes() == blob.data[:size]


def test_cut_between_records_is_no_cut(pki, blob, tmp_path, version):
    """An EOF behind a whole record is the peer's half close, wherever the segments were cut."""
    taken = tmp_path / "taken"
    with session(pki, keeper(taken), version=version) as (tlsd, client):
        records = client.encrypt(blob.data[:RECORD]) + client.encrypt(blob.data[RECORD:2 * RECORD])
        for at in range(0, len(records), 700):
            client.sock.sendall(records[at:at + 700])
        client.fin()
        assert client.read_all() == b""
        leave(tlsd, client)
    assert taken.read_bytes() == blob.data[:2 * RECORD]


# -- broken ------------------------------------------------------------------

def flipped(record, at):
    record = bytearray(record)
    record[at] ^= 0x10
    return bytes(record)


@pytest.mark.parametrize("more", [0, 200_000])
@pytest.mark.parametrize("at", [5, RECORD // 2, -1])
def test_bad_record(pki, blob, tmp_path, version, at, more):
    """After a flipped bit prog gets the records before it, the client bad_record_mac whatever it sent behind; 98."""
    taken = tmp_path / "taken"
    with session(pki, keeper(taken), ["-S"], version) as (tlsd, client):
        records = [client.encrypt(blob.data[n * RECORD:(n + 1) * RECORD]) for n in range(3)]
        client.sock.sendall(b"".join(records[:2]) + flipped(records[2], at) + client.encrypt(bytes(more)))
        assert client.read_all() == b""
        assert client.end == late_alert("SSLV3_ALERT_BAD_RECORD_MAC")
        assert wire_end(client.sock) == "fin"
        client.close()
        assert tlsd.wait() == 98
        fatal_line(tlsd)
    assert taken.read_bytes() == blob.data[:2 * RECORD]


@pytest.mark.parametrize("junk", [
    b"\x17\x03\x03\x49\x00" + bytes(0x4900),
    b"\x63\x03\x03\x00\x20" + bytes(32),
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
], ids=["too long", "of no known type", "no record at all"])
def test_junk_behind_a_record(pki, blob, tmp_path, version, junk):
    """What is no record ends the connection with an alert: prog gets what was before it; 98."""
    taken = tmp_path / "taken"
    with session(pki, keeper(taken), version=version) as (tlsd, client):
        client.sock.sendall(client.encrypt(blob.data[:RECORD]) + junk)
        assert client.read_all() == b""
        assert client.end.startswith(late_alert())
        assert wire_end(client.sock) == "fin"
        client.close()
        assert tlsd.wait() == 98
        fatal_line(tlsd)
    assert taken.read_bytes() == blob.data[:RECORD]


def test_reply_before_a_bad_record_is_whole(pki, blob, tmp_path, version):
    """What prog had written before the failure reaches the client, ahead of the alert."""
    told, go = Fifo(tmp_path / "told"), Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'head -c 100000 "$0"; echo written > "$1"; read _ < "$2"; exit 5', blob.path, told.path,
            go.path]
    with session(pki, prog, version=version) as (tlsd, client):
        assert told.get() == "written"
        wait_quiet(tlsd.engine())
        client.sock.sendall(flipped(client.encrypt(bytes(100)), -1))
        assert client.read_all() == blob.data[:100_000]
        assert client.end == late_alert("SSLV3_ALERT_BAD_RECORD_MAC")
        assert wire_end(client.sock) == "fin"
        assert tlsd.proc.poll() is None
        go.put()
        client.close()
        assert tlsd.wait() == 98
        fatal_line(tlsd)


# -- an answer that is cut ---------------------------------------------------

def test_failure_that_loses_bytes_resets(pki, blob, tmp_path, version, close):
    """When bytes of prog can no longer be sent after a failure the wire is reset: the client sees that they lack."""
    told = Fifo(tmp_path / "told")
    prog = python(FILL + """
told = open(sys.argv[2], "w", 1)
told.write(f"{n}\\n")
told.write("EOF\\n" if os.read(0, 1) == b"" else "data\\n")
""", blob.path, told.path)
    with session(pki, prog, [close, "--linger=300"], version, rcvbuf=4096) as (tlsd, client):
        n = int(told.get())
        assert 65536 < n < len(blob.data)
        client.sock.sendall(flipped(client.encrypt(bytes(100)), -1))
        assert told.get() == "EOF"
        got = client.read_all()
        assert len(got) < n
        assert got == blob.data[:len(got)]
        assert client.end == "reset" or client.end.startswith("alert: ")
        if client.end != "reset":
            assert wire_end(client.sock) == "reset"
        assert tlsd.wait() == 98
        fatal_line(tlsd)


CUTS = {
    "fin": lambda client: client.fin(),
    "fin inside a record": lambda client: (client.sock.sendall(client.encrypt(bytes(100))[:50]), client.fin()),
}


@pytest.mark.parametrize("cut, option", [("fin", "-J"), ("fin inside a record", "-j"), ("fin inside a record", "-J")])
def test_failure_in_the_middle_of_an_answer_resets(pki, version, close, cut, option):
    """An answer that ends with a failure before prog has ended it never looks whole, though nothing of it waits."""
    prog = ["sh", "-c", "head -c 1000 /dev/zero; cat > /dev/null; head -c 1000 /dev/zero 2> /dev/null"]
    with session(pki, prog, [close, option], version) as (tlsd, client):
        assert client.read_exactly(1000) == bytes(1000)
        CUTS[cut](client)
        assert client.read_all() == b""
        assert client.end == "reset"
        assert tlsd.wait() == 98
        fatal_line(tlsd)


def kill_engine(tlsd):
    os.kill(tlsd.engine(), signal.SIGKILL)


def kill_monitor(tlsd):
    os.kill(tlsd.pid, signal.SIGKILL)


def terminate_monitor(tlsd):
    os.kill(tlsd.pid, signal.SIGTERM)


@pytest.mark.parametrize("act, code", [(kill_engine, 98), (kill_monitor, -9), (terminate_monitor, -15)])
def test_killed_in_the_middle_of_an_answer(pki, blob, version, close, act, code):
    """However one of our processes dies in mid-answer, the client sees a reset and no proper end; none is left."""
    with session(pki, ["cat", blob.path], [close, "--linger=300"], version) as (tlsd, client):
        engine, prog = tlsd.engine(), tlsd.prog()
        got = client.read_exactly(1_000_000)
        act(tlsd)
        got += client.read_all()
        assert client.end == "reset"
        assert len(got) < len(blob.data)
        assert got == blob.data[:len(got)]
        assert tlsd.wait() == code
        wait_for(lambda: not alive(engine) and not alive(prog), "engine and prog to end")
        if code == 98:
            assert "engine died (signal 9)" in fatal_line(tlsd)


@pytest.mark.parametrize("act, code", [(kill_engine, 98), (kill_monitor, -9), (terminate_monitor, -15)])
def test_killed_at_rest(pki, tmp_path, version, act, code):
    """When one of our processes dies between messages, prog reads EOF, and no close_notify goes out, even with -S."""
    told = Fifo(tmp_path / "told")
    prog = ["sh", "-c", 'trap "" TERM; echo hello; cat; echo eof > "$0"', told.path]
    with session(pki, prog, ["-S", "--linger=300"], version) as (tlsd, client):
        assert client.read_exactly(6) == b"hello\n"
        engine = tlsd.engine()
        act(tlsd)
        assert told.get() == "eof"
        assert client.read_all() == b""
        assert client.end in ("fin", "reset")
        assert tlsd.wait() == code
        wait_for(lambda: not alive(engine), "the engine to end")


def test_killed_behind_the_end(pki, blob, version, close):
    """Once prog's end is on its way, a death of the engine takes back nothing of what the client has yet to read."""
    size = 30_000
    prog = ["sh", "-c", 'head -c "$1" "$0"; exec >&-; exec sleep 1000', blob.path, str(size)]
    with session(pki, prog, [close, "--linger=2000000"], version, rcvbuf=4096) as (tlsd, client):
        prog = tlsd.prog()
        wait_quiet(tlsd.pid, tlsd.engine(), prog)
        kill_engine(tlsd)
        assert client.read_all() == blob.data[:size]
        assert client.end == ENDS[close]
        os.kill(prog, signal.SIGKILL)
        assert tlsd.wait() == 98


# -- an alert that arrives ---------------------------------------------------

@pytest.mark.server_only
def test_alert_protocol_version_arrives(pki, tmp_path):
    """A client that is too old learns so, although it has sent more than was read."""
    ran = tmp_path / "ran"
    with Tlsd(pki, ["touch", str(ran)]) as tlsd:
        client = Client(tlsd.sock, pki, context=too_old("TLSv1"))
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        client.sock.sendall(client.outbound.read() + bytes(100_000))
        with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_PROTOCOL_VERSION"):
            client.handshake()
        assert wire_end(client.sock) == "fin"
        client.close()
        assert tlsd.wait() == 98
        fatal_line(tlsd)
    assert not ran.exists()


def handshake_and_more(client, more):
    """Does a handshake in which `more` follows the client's last flight at once; says how the peer ended it."""
    done, flights = False, 0
    while not done:
        try:
            client.tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as e:
            return f"alert: {e.reason}"
        data = client.outbound.read()
        flights += bool(data)
        client.sock.sendall(data + (more if data and flights == 2 else b""))
        if not done:
            assert client.fill()
    assert client.read_all() == b""
    return client.end


@pytest.mark.server_only
@pytest.mark.parametrize("who, alerts", [
    ("nobody", {"1.2": "SSLV3_ALERT_HANDSHAKE_FAILURE", "1.3": "TLSV13_ALERT_CERTIFICATE_REQUIRED"}),
    ("a stranger", {"1.2": "TLSV1_ALERT_UNKNOWN_CA", "1.3": "TLSV1_ALERT_UNKNOWN_CA"}),
])
def test_alert_about_the_certificate_arrives(pki, tmp_path, version, who, alerts):
    """A client whose certificate is refused learns why, although it has sent 100 kB on the heels of its Finished."""
    ran = tmp_path / "ran"
    identity = None
    if who == "a stranger":
        identity = pki.issue("stranger", "mallory", make_identity("Other CA", ca=True))
    with Tlsd(pki, ["touch", str(ran)], ["-y"], env={"CAFILE": pki.cafile}) as tlsd:
        client = Client(tlsd.sock, pki, version, identity)
        end = handshake_and_more(client, b"\x17\x03\x03\x40\x00" + bytes(100_000))
        assert end == "alert: " + alerts[version]
        assert wire_end(client.sock) == "fin"
        client.close()
        assert tlsd.wait() == 98
        fatal_line(tlsd)
    assert not ran.exists()

"""What is said, where, and how much; and what is said of those who speak no TLS, too old a TLS, or break off."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile

import pytest

from harness import (ABLE, Client, LIMIT, PROGRAM, Tlsd, children, fields, one_line, refusal, refused_at_start, session,
                     survivors, too_old, wait_for, wire_end)
from server import many


def levels(log):
    """How many lines there are of each kind; every line must be of one."""
    found = {}
    for line in log.splitlines():
        kind = re.fullmatch(r"s6-tlsd: (fatal|warning|info|debug): [ -~]+", line)
        assert kind, line
        found[kind[1]] = found.get(kind[1], 0) + 1
    return found


def events(log):
    """The lines with event=: each event and its fields."""
    found = [fields(line) for line in log.splitlines() if " event=" in line]
    assert len({f["event"] for f in found}) == len(found)
    return {f["event"]: f for f in found}


# -- how much -------------------------------------------------------------------------

@pytest.mark.parametrize("verbosity, kinds", [
    (0, set()), (1, {"warning"}), (None, {"warning"}), (2, {"warning", "info"}), (3, {"warning", "info", "debug"}),
    (99, {"warning", "info", "debug"}),
])
def test_verbosity_of_a_good_connection(pki, verbosity, kinds):
    """0 says nothing, 1 (the default) warnings, 2 the connection too, 3 and more everything."""
    old = pki.issue("old", "localhost", names=["localhost"], start=-10, days=5)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    options = [] if verbosity is None else [f"-v{verbosity}"]
    ids = {"TLS_UID": "65534", "TLS_GID": "65534"}
    with Tlsd(pki, ["true"], options, env=ids | {"KEYFILE": old.keyfile, "CERTFILE": old.certfile}) as tlsd:
        client = Client(tlsd.sock, pki, context=context).handshake()
        client.read_all()
        client.fin()
        assert tlsd.wait() == 0
        found = levels(tlsd.stderr())
    assert set(found) == kinds
    assert found.get("info", 2) == 2 and found.get("warning", 1) == 1


@pytest.mark.parametrize("verbosity", [0, 1, 2, 3])
def test_fatal_errors_are_always_told(pki, verbosity):
    """Even -v0 tells a fatal error, and no level tells it twice."""
    with Tlsd(pki, ["true"], [f"-v{verbosity}"]) as tlsd:
        tlsd.sock.close()
        assert tlsd.wait() == 98
        assert levels(tlsd.stderr())["fatal"] == 1
    with Tlsd(pki, ["true"], [f"-v{verbosity}"], env={"KEYFILE": "/nonexistent"}) as tlsd:
        assert tlsd.wait() == 111
        assert levels(tlsd.stderr()) == {"fatal": 1}


# -- the two lines of -v2 ----------------------------------------------------------------

def test_handshake_line(pki, version):
    """The line at the handshake has pid, peer, protocol, cipher, server name, subject and milliseconds."""
    with session(pki, ["env"], ["-v2", "-Y"], version, pki.client, env={"CAFILE": pki.cafile}) as (tlsd, client):
        variables = dict(line.split("=", 1) for line in client.read_all().decode().splitlines())
        client.fin()
        assert tlsd.wait() == 0
        line = next(line for line in tlsd.stderr().splitlines() if "event=handshake" in line)
    found = fields(line)
    assert line.startswith(f"s6-tlsd: info: pid={tlsd.pid} peer={tlsd.peername} event=handshake ")
    assert found.pop("ms").isdigit()
    assert found == {
        "pid": str(tlsd.pid), "peer": tlsd.peername, "event": "handshake", "protocol": f"TLSv{version}",
        "cipher": variables["SSL_CIPHER"], "sni": "localhost", "subject": "CN=alice"}
    assert ' subject="CN=alice"' in line


def test_handshake_line_without_name_and_subject(pki):
    """What does not apply is not there."""
    with session(pki, ["true"], ["-v2"], sni=None) as (tlsd, client):
        client.read_all()
        client.fin()
        assert tlsd.wait() == 0
        found = events(tlsd.stderr())["handshake"]
    assert set(found) == {"pid", "peer", "event", "protocol", "cipher", "ms"}


def test_subject_in_the_log_is_one_line(pki):
    """A subject with a newline and quotes stays one field on one line."""
    evil = pki.issue("evil", 'a"\ns6-tlsd: info: forged \\" event=end')
    with session(pki, ["true"], ["-v2", "-y"], identity=evil, env={"CAFILE": pki.cafile}) as (tlsd, client):
        client.read_all()
        client.fin()
        assert tlsd.wait() == 0
        log = tlsd.stderr()
    assert set(levels(log)) == {"info"} and "\ns6-tlsd: info: forged" not in log
    handshake = next(line for line in log.splitlines() if " event=handshake " in line)
    assert re.search(r' subject="CN=a\\"\\0As6-tlsd: info: forged \\\\\\" event=end" ms=\d+$', handshake), handshake


def by_exit(client):
    client.send(b"12345")
    assert client.read_exactly(7) == b"1234567"
    assert client.read_all() == b""
    client.fin()


def by_peer(client):
    client.send(b"12345")
    client.fin()
    assert client.read_all() == b"1234567"


def by_peer_notify(client):
    client.send(b"12345")
    client.close_notify()
    client.fin()
    assert client.read_all() == (b"1234567" if ABLE.replies_after_close_notify else b"")


def by_reset(client):
    client.send(b"12345")
    assert client.read_exactly(7) == b"1234567"
    client.reset()


def by_junk(client):
    client.send(b"12345")
    assert client.read_exactly(7) == b"1234567"
    client.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    wire_end(client.sock)
    client.close()


def by_silence(client):
    client.send(b"12345")
    assert client.read_all() == b"1234567"
    client.fin()


READ = "head -c 5 >/dev/null; printf 1234567; "
WAITING = READ + "cat >/dev/null"


@pytest.mark.parametrize("end, script, options, by, code", [
    (by_exit, READ + "exit 0", [], "prog", 0),
    (by_exit, READ + "exit 3", [], "prog", 3),
    (by_exit, READ + "kill -9 $$", [], "prog", 137),
    (by_peer, "cat >/dev/null; printf 1234567; exit 4", [], "peer", 4),
    (by_peer_notify, "cat >/dev/null; printf 1234567", [], "peer",
     0 if ABLE.replies_after_close_notify else 128 + signal.SIGPIPE),
    (by_reset, WAITING, [], "peer", 98),
    (by_junk, WAITING, [], "peer", 98),
    (by_silence, WAITING, ["-K300"], "self", 98),
])
def test_end_line(pki, version, end, script, options, by, code):
    """The line at the end has bytes each way, milliseconds, who ended it and how, and the code."""
    with session(pki, ["sh", "-c", script], ["-v2", *options], version) as (tlsd, client):
        end(client)
        assert tlsd.wait() == code
        last = tlsd.stderr().splitlines()[-1]
    found = fields(last)
    assert last.startswith(f"s6-tlsd: info: pid={tlsd.pid} peer={tlsd.peername} event=end ")
    out = "0" if end is by_peer_notify and not ABLE.replies_after_close_notify else "7"
    assert (found["by"], found["in"], found["out"], found["code"]) == (by, "5", out, str(code))
    assert re.fullmatch(r"[a-z_-]+", found["how"]) and found["ms"].isdigit()
    assert levels(last) == {"info": 1}


def test_end_line_after_a_signal(pki):
    """When a signal ended it the line says so."""
    with session(pki, ["cat"], ["-v2"]) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        os.kill(tlsd.pid, signal.SIGTERM)
        client.read_all()
        client.close()
        assert tlsd.wait() == -signal.SIGTERM
        found = events(tlsd.stderr())["end"]
    assert (found["by"], found["how"]) == ("self", "signal")
    assert (found["in"], found["out"]) == ("1", "1")


def test_end_line_counts_large_transfers(pki, blob):
    """The counts are of plaintext, whole."""
    n = 5_000_000
    with session(pki, blob.head(n), ["-v2"]) as (tlsd, client):
        assert client.read_all() == blob.data[:n]
        client.fin()
        assert tlsd.wait() == 0
        found = events(tlsd.stderr())["end"]
    assert (found["in"], found["out"]) == ("0", str(n))


# -- where and about whom ---------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["pipe", "file", "socket"])
def test_log_fd(pki, kind):
    """--log-fd takes every message, stderr gets none, and prog's stderr stays prog's."""
    with contextlib.ExitStack() as stack:
        if kind == "pipe":
            r, w = os.pipe()
            stack.callback(os.close, r)
        elif kind == "socket":
            r, w = (end.detach() for end in socket.socketpair())
            stack.callback(os.close, r)
        else:
            file = stack.enter_context(tempfile.TemporaryFile())
            w = os.dup(file.fileno())
            r = file.fileno()
        with session(pki, ["sh", "-c", "echo prog >&2"], ["-v2", f"--log-fd={w}"], pass_fds=[w]) as (tlsd, client):
            os.close(w)
            client.read_all()
            client.fin()
            assert tlsd.wait() == 0
            assert tlsd.stderr() == "prog\n"
        log = os.pread(r, 65536, 0).decode() if kind == "file" else os.read(r, 65536).decode()
    assert set(events(log)) == {"handshake", "end"}


@pytest.mark.parametrize("code, options, env", [
    (100, ["--nonsense"], {}), (100, [], {"KEYFILE": None}), (111, [], {"KEYFILE": "/nonexistent"}), (98, [], {}),
])
def test_nobody_reads_the_messages(pki, code, options, env):
    """A stderr that nobody reads any more changes nothing."""
    r, w = os.pipe()
    os.close(r)
    with Tlsd(pki, ["true"], options, env=env, stderr=w,
              preexec=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL)) as tlsd:
        os.close(w)
        tlsd.sock.close()
        assert tlsd.wait() == code


def junk_over(pki, ours, theirs, **kw):
    """The fatal line about a connection that begins with junk; closes both sockets."""
    with ours, Tlsd(pki, ["true"], stdin=theirs, stdout=theirs, **kw) as tlsd:
        theirs.close()
        ours.sendall(b"GET / HTTP/1.0\r\n\r\n")
        ours.shutdown(socket.SHUT_WR)
        assert tlsd.wait() == 98
        message = one_line(tlsd.stderr())
    found = re.fullmatch(rf"pid={tlsd.pid} peer=(\S+) handshake failed: .+", message)
    assert found, message
    return found[1]


def test_peer_is_the_sockets(pki):
    """The kernel's word on the peer wins over the variables'."""
    env = {"TCPREMOTEIP": "192.0.2.7", "TCPREMOTEPORT": "4711", "REMOTE_ADDR": "192.0.2.8"}
    with Tlsd(pki, ["true"], env=env) as tlsd:
        tlsd.sock.close()
        assert tlsd.wait() == 98
        assert one_line(tlsd.stderr()).startswith(f"pid={tlsd.pid} peer={tlsd.peername} ")


def test_peer_over_ipv6(pki):
    """An IPv6 address is in brackets, so that the port can be told from it."""
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("there is no IPv6 loopback here")
        listener.listen(1)
        ours = socket.create_connection(listener.getsockname()[:2])
        theirs, _ = listener.accept()
    port = ours.getsockname()[1]
    assert junk_over(pki, ours, theirs) == f"[::1]:{port}"


@pytest.mark.parametrize("env, expected", [
    ({"TCPREMOTEIP": "192.0.2.7"}, "192.0.2.7"),
    ({"TCPREMOTEIP": "192.0.2.7", "TCPREMOTEPORT": "4711"}, "192.0.2.7:4711"),
    ({"REMOTE_ADDR": "192.0.2.8"}, "192.0.2.8"),
    ({"REMOTE_ADDR": "192.0.2.8", "REMOTE_PORT": "4712"}, "192.0.2.8:4712"),
    ({"TCPREMOTEIP": "192.0.2.7", "REMOTE_ADDR": "192.0.2.8"}, "192.0.2.7"),
    ({"TCPREMOTEIP": "", "REMOTE_ADDR": "192.0.2.8"}, "192.0.2.8"),
    ({"TCPREMOTEIP": "2001:db8::1", "TCPREMOTEPORT": "4711"}, "[2001:db8::1]:4711"),
    ({}, "unknown"),
])
def test_peer_by_variable(pki, env, expected):
    """Where the kernel has no address, TCPREMOTEIP says who it is, else REMOTE_ADDR."""
    assert junk_over(pki, *socket.socketpair(), env=env) == expected


@pytest.mark.parametrize("value", ["a\nb", "a\nfatal: s6-tlsd: b", "\x1b[31m", "a b=c", "\u00fc", "x" * 5000, "%s%n"])
def test_hostile_peer_variable(pki, value):
    """Whatever the variable holds, the line is one line, and its fields stay apart."""
    assert len(junk_over(pki, *socket.socketpair(), env={"TCPREMOTEIP": value})) < 200


def test_peer_of_two_pipes(pki):
    """Two pipes have no peer but the variables'."""
    to_us, from_us = os.pipe(), os.pipe()
    with Tlsd(pki, ["true"], stdin=to_us[0], stdout=from_us[1], env={"TCPREMOTEIP": "192.0.2.7"}) as tlsd:
        os.close(to_us[0])
        os.close(from_us[1])
        os.write(to_us[1], b"GET / HTTP/1.0\r\n\r\n")
        os.close(to_us[1])
        assert tlsd.wait() == 98
        os.close(from_us[0])
        assert one_line(tlsd.stderr()).startswith(f"pid={tlsd.pid} peer=192.0.2.7 ")


def test_file_name_in_a_message_is_one_line(pki):
    """A file's name with a newline is told on one line."""
    code, message = refused_at_start(pki, env={"KEYFILE": "/nonexistent/a\nb\x1b[31m"})
    assert code == 111 and "/nonexistent/a" in message


@pytest.mark.parametrize("name", ["a\ns6-tlsd: fatal: b", "a\x1b[2J", "a\rb\x7f", "a\u00fc"], ids=ascii)
def test_file_names_in_warnings_are_one_line(pki, tmp_path, name):
    """A warning about a file, by CADIR or by CERTFILE, is one line of printable ASCII whatever the file is called."""
    cadir = tmp_path / "anchors"
    cadir.mkdir()
    (cadir / "ca").write_bytes(pki.ca.cert_pem())
    (cadir / name).write_bytes(b"no certificate")
    (cadir / (name + "2")).symlink_to("/nonexistent")
    old = pki.issue("old", "localhost", names=["localhost"], start=-10, days=5)
    certfile = tmp_path / name
    certfile.write_bytes(old.cert_pem())
    env = {"CADIR": str(cadir), "KEYFILE": old.keyfile, "CERTFILE": str(certfile)}
    with Tlsd(pki, ["true"], ["-Y"], env=env) as tlsd:
        tlsd.sock.close()
        assert tlsd.wait() == 98
        log = tlsd.stderr()
    assert levels(log) == {"warning": 3, "fatal": 1}
    assert log.count(f"{tmp_path}/") == 3


# -- who speaks no TLS -------------------------------------------------------------------------

@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n",
    b"EHLO localhost\r\n", b"\n", b"\0", b"\xff" * 5000, b"\0" * 100000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\xff\xff" + bytes(70000), b"\x16\x03\x01\x00\x00", b"\x15\x03\x01\x00\x02\x02\x28",
    b"\x17\x03\x03\x00\x10" + bytes(16), b"\x14\x03\x03\x00\x01\x01",
], ids=lambda data: repr(data[:12]))
def test_what_is_no_tls(pki, data):
    """HTTP, SSH or junk on the port: one short line, 98, and the reply is an alert at most."""
    with Tlsd(pki, ["true"]) as tlsd:
        with contextlib.suppress(ConnectionError):
            tlsd.sock.sendall(data)
            tlsd.sock.shutdown(socket.SHUT_WR)
        reply = b""
        with contextlib.suppress(ConnectionResetError):
            while more := tlsd.sock.recv(4096):
                reply += more
        tlsd.sock.close()
        assert tlsd.wait() == 98
        message = one_line(tlsd.stderr())
    assert re.fullmatch(rb"(\x15\x03.\x00\x02..)?", reply, re.S)
    assert message.startswith(f"pid={tlsd.pid} peer={tlsd.peername} ") and len(message) < 160


class Cut(Client):
    """A client whose wire is cut after `quota` bytes: Cut.Off is raised then."""

    class Off(Exception):
        pass

    def __init__(self, *args, quota, **kw):
        super().__init__(*args, **kw)
        self.quota, self.sent = quota, 0

    def flush(self):
        data = self.outbound.read()
        self.sock.sendall(data[:self.quota - self.sent])
        self.sent += len(data)
        if self.sent >= self.quota:
            raise Cut.Off


@pytest.mark.parametrize("how", ["fin", "reset", "fin and reset"])
def test_cut_in_the_handshake(pki, version, how):
    """FIN or RST after any byte of the handshake: 98, one line, prog never runs."""
    with Tlsd(pki, ["true"]) as tlsd:
        client = Cut(tlsd.sock, pki, version, quota=1 << 20).handshake()
        total = client.sent
    assert total > 200
    for n in sorted({*range(12), *range(12, total, 37), total - 40, total - 2, total - 1}):
        with Tlsd(pki, ["sh", "-c", "echo ran >&2"]) as tlsd:
            client = Cut(tlsd.sock, pki, version, quota=n)
            with pytest.raises(Cut.Off):
                client.handshake()
            if how.startswith("fin"):
                client.fin()
                assert wire_end(client.sock) in ("fin", "reset")
            if how.endswith("reset"):
                client.reset()
            assert tlsd.wait() == 98, f"cut after {n} bytes"
            one_line(tlsd.stderr())


# -- too old, too weak ---------------------------------------------------------------------------

def hello(version, suites, extensions=b""):
    """A ClientHello in its record."""
    body = (version + bytes(range(32)) + b"\0" + len(suites).to_bytes(2, "big") + suites + b"\1\0"
            + (len(extensions).to_bytes(2, "big") + extensions if extensions else b""))
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def extension(number, body):
    return number.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


# Groups P-256 and X25519, uncompressed points, and signatures from SHA-1 to Ed25519.
USUAL = (extension(10, bytes.fromhex("00040017001d")) + extension(11, b"\1\0")
         + extension(13, bytes.fromhex("000e0403050306030804040102030807")))
TLS10, TLS11, TLS12, SSL3 = b"\3\1", b"\3\2", b"\3\3", b"\3\0"
MODERN = bytes.fromhex("c02bc02cc02fc030cca9cca8")
# As MODERN, each with its leading zero, in a hello of SSL 2.
SSL2 = b"\0\xc0\x2b\0\xc0\x2c\0\xc0\x2f\1\0\x80\7\0\xc0"


def ssl2_hello(version):
    body = b"\1" + version + len(SSL2).to_bytes(2, "big") + b"\0\0\0\x10" + SSL2 + bytes(range(16))
    return (0x8000 | len(body)).to_bytes(2, "big") + body


@pytest.fixture(scope="module")
def rsa_server(pki):
    """An identity for which even the oldest suites would do."""
    return pki.issue("rsa-for-old", "localhost", key="rsa2048", names=["localhost"])


def answer(pki, server, data):
    """The first bytes that come back for a hello, which must be refused with 98 and one line."""
    env = {"KEYFILE": server.keyfile, "CERTFILE": server.certfile}
    with Tlsd(pki, ["true"], env=env) as tlsd:
        tlsd.sock.sendall(data)
        tlsd.sock.shutdown(socket.SHUT_WR)
        reply = b""
        while more := tlsd.sock.recv(4096):
            reply += more
        assert tlsd.wait() == 98
        one_line(tlsd.stderr())
    return reply


def test_the_crafted_hello_is_a_good_one(pki, rsa_server):
    """With modern suites the crafted hello is answered by a ServerHello: its refusals below are for the suites."""
    for server in pki.server, rsa_server:
        assert answer(pki, server, hello(TLS12, MODERN, USUAL))[:1] == b"\x16"


@pytest.mark.parametrize("suites", [
    "003b", "c006", "c010", "0001", "0002", "002c", "0000",  # NULL
    "0005", "0004", "c007", "c011",                          # RC4
    "000a", "c008", "c012", "0016",                          # 3DES
    "0003", "0006", "0008", "0014", "0062",                  # export
    "0018", "0034", "00a6", "c018", "c017",                  # anonymous
    "0009", "0015",                                          # DES
    "003b000a0005c007c008c012c006c01000030034000900ff5600",  # all of them
])
def test_weak_suites_are_refused(pki, rsa_server, suites):
    """NULL, RC4, DES, 3DES, export and anonymous suites get the alert handshake_failure."""
    for server in pki.server, rsa_server:
        assert answer(pki, server, hello(TLS12, bytes.fromhex(suites), USUAL))[:1] == b"\x15"


# The alerts, both fatal, are handshake_failure and protocol_version.
@pytest.mark.parametrize("version, alerts", [(SSL3, (40, 70)), (TLS10, (70,)), (TLS11, (70,))],
                         ids=["SSL 3", "TLS 1.0", "TLS 1.1"])
def test_old_versions_are_refused(pki, rsa_server, version, alerts):
    """A hello that offers no more than TLS 1.1 gets an alert that says so."""
    suites = MODERN + bytes.fromhex("c013c014c009c00a002f0035000a")
    reply = answer(pki, rsa_server, hello(version, suites, USUAL))
    assert len(reply) == 7 and reply[0] == 21 and reply[5] == 2 and reply[6] in alerts


@pytest.mark.parametrize("name", ["TLSv1", "TLSv1_1"])
def test_old_clients_are_refused(pki, name):
    """A real client of TLS 1.0 or 1.1, willing to do anything, is told the version is wrong."""
    with Tlsd(pki, ["true"]) as tlsd:
        assert refusal(Client(tlsd.sock, pki, context=too_old(name, name))) == "alert: TLSV1_ALERT_PROTOCOL_VERSION"
        tlsd.sock.close()
        assert tlsd.wait() == 98
        one_line(tlsd.stderr())


@pytest.mark.parametrize("version", [b"\0\2", SSL3, TLS10, TLS12], ids=["SSL 2", "SSL 3", "TLS 1.0", "TLS 1.2"])
def test_ssl2_hello_is_refused(pki, rsa_server, version):
    """A hello in the form of SSL 2 is refused, whatever version it claims."""
    for server in pki.server, rsa_server:
        assert answer(pki, server, ssl2_hello(version))[:1] in (b"", b"\x15")


def test_compression_is_not_chosen(pki):
    """A client that offers compression gets none."""
    with_deflate = bytearray(hello(TLS12, MODERN, USUAL))
    at = with_deflate.index(b"\1\0", 9 + 2 + 32 + 1 + 2 + len(MODERN))
    with_deflate[at:at + 2] = b"\2\1\0"
    with_deflate[3:5] = (int.from_bytes(with_deflate[3:5], "big") + 1).to_bytes(2, "big")
    with_deflate[6:9] = (int.from_bytes(with_deflate[6:9], "big") + 1).to_bytes(3, "big")
    reply = answer(pki, pki.server, bytes(with_deflate))
    session_id = 9 + 2 + 32
    assert reply[:1] == b"\x16" and reply[5] == 2
    assert reply[session_id + 1 + reply[session_id] + 2] == 0


# -- many --------------------------------------------------------------------------------------------

@contextlib.contextmanager
def super_server(pki, prog, options=()):
    """s6-tlsd under tcpserver: yields (its Popen, port, the file with all messages)."""
    env = {"PATH": os.environ["PATH"], "KEYFILE": pki.server.keyfile, "CERTFILE": pki.server.certfile}
    env |= {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
    with tempfile.TemporaryFile() as log:
        proc = subprocess.Popen(["tcpserver", "-1HRl0", "-b", "250", "-c", "250", "127.0.0.1", "0", PROGRAM, *options,
                                 *prog], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                start_new_session=True)
        try:
            yield proc, int(proc.stdout.readline()), log
        finally:
            for pid in survivors(proc.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            proc.wait()
            proc.stdout.close()


def connect(pki, port):
    sock = socket.create_connection(("127.0.0.1", port), LIMIT)
    return Client(sock, pki)


@pytest.mark.skipif(not shutil.which("tcpserver"), reason="tcpserver of ucspi-tcp is not installed")
def test_many_connections(pki):
    """200 handshakes at once and as many connections in a row, or more, leave no process and no descriptor behind."""
    row = many(1000, 200)
    with super_server(pki, ["cat"], ["-v2"]) as (proc, port, log):
        descriptors = len(os.listdir(f"/proc/{proc.pid}/fd"))
        clients = [connect(pki, port) for _ in range(200)]
        for client in clients:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.tls.do_handshake()
            client.flush()
        for client in clients:
            client.handshake()
        for i, client in enumerate(clients):
            client.send(b"%d\n" % i)
        for i, client in enumerate(clients):
            assert client.read_exactly(len(str(i)) + 1) == b"%d\n" % i
        assert len(children(proc.pid)) == 200
        for client in clients:
            client.fin()
        for client in clients:
            assert client.read_all() == b""
            client.close()
        for _ in range(row):
            client = connect(pki, port).handshake()
            client.send(b"x")
            assert client.read_exactly(1) == b"x"
            client.fin()
            assert client.read_all() == b""
            client.close()
        wait_for(lambda: survivors(proc.pid) == [proc.pid], "the last connection's processes")
        assert len(os.listdir(f"/proc/{proc.pid}/fd")) <= descriptors
        lines = os.pread(log.fileno(), 1 << 20, 0).decode().splitlines()
    ours = [fields(line) for line in lines if line.startswith("s6-tlsd: info: pid=") and " event=" in line]
    for event in "handshake", "end":
        found = [line for line in ours if line["event"] == event]
        assert len(found) == 200 + row and len({line["peer"] for line in found}) > 350
    assert not [line for line in lines if line.startswith(("s6-tlsd: fatal", "s6-tlsd: warning"))]
    assert {line["code"] for line in ours if line["event"] == "end"} == {"0"}

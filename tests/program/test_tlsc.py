"""What is s6-tlsc's own: its descriptors, whom it asks for, what it shows of itself."""

import contextlib
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import tempfile

import pytest

from harness import (ABLE, LIMIT, ON_0_AND_1, PYTHON, TLS, TLSC, VERSIONS, Client, Tlsd, children, client_context,
                     fields, minimal_environment, new_key, one_line, placed, python, refusal, server_context,
                     session, status_of, tcp_pair, wait_for, wait_quiet, wire_end)

ROLES = ["client"]
FOREVER = "--linger=2000000"
NO_NAME = "no -k: the server can be any that a trust anchor stands for, whatever its name"

FDS = """
for n in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        print(n, os.readlink("/proc/self/fd/" + n), file=sys.stderr)
    except OSError:
        pass
"""


class Tlsc:
    """s6-tlsc as it is started: the connection on rfd and wfd, prog's own 0, 1 and 2 as given."""

    def __init__(self, pki, prog, options=("-k", "localhost"), env=None, rfd=6, wfd=7, close=(), pass_fds=(), **kw):
        self.sock, self.wire = tcp_pair()
        self.peername = "%s:%d" % self.sock.getsockname()
        variables = minimal_environment(env, CAFILE=pki.cafile)
        self.log = tempfile.TemporaryFile()
        for name, default in ("stdin", subprocess.DEVNULL), ("stdout", subprocess.PIPE), ("stderr", self.log):
            kw.setdefault(name, default)
        closing = ["bash", "-c", "".join(f"exec {fd}<&-; " for fd in close) + 'exec "$@"', "bash"] if close else []
        with placed(self.wire, self.wire, [*closing, TLSC, *options, *prog], rfd, wfd) as (command, fds):
            self.proc = subprocess.Popen(command, env=variables, pass_fds=[*pass_fds, *fds], **kw)
        self.wire.close()
        self.pid = self.proc.pid

    stderr = Tlsd.stderr
    wait = Tlsd.wait
    engine = Tlsd.engine
    prog = Tlsd.prog
    close = Tlsd.close

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
        for stream in filter(None, (self.proc.stdin, self.proc.stdout)):
            stream.close()


def found(text):
    """What FDS printed: number to what it is."""
    return {int(n): what for n, what in (line.split(" ", 1) for line in text.splitlines())}


def serve(tlsc, pki, version=None, **kw):
    """The server's side of the connection, the handshake done."""
    return Client(tlsc.sock, pki, version, **kw).handshake()


# -- descriptors -------------------------------------------------------------

def test_prog_talks_on_6_and_7_and_keeps_its_own(pki, version):
    """prog's stdin, stdout and stderr are those of the start; 6 and 7 are pipes; nothing of ours is there."""
    with tempfile.TemporaryFile() as file:
        prog = python(FDS + "os.write(7, os.read(0, 5)); os.write(1, os.read(6, 5))")
        with Tlsc(pki, prog, stdin=subprocess.PIPE, pass_fds=[file.fileno()]) as tlsc:
            tlsc.proc.stdin.write(b"local")
            tlsc.proc.stdin.flush()
            server = serve(tlsc, pki, version)
            assert server.read_exactly(5) == b"local"
            server.send(b"wired")
            assert tlsc.proc.stdout.read() == b"wired"
            assert server.read_all() == b""
            server.close()
            assert tlsc.wait() == 0
            fds = found(tlsc.stderr())
        assert sorted(fds) == sorted([0, 1, 2, 6, 7, file.fileno()])
        assert fds[6].startswith("pipe:") and fds[7].startswith("pipe:") and fds[6] != fds[7]


@pytest.mark.parametrize("rfd, wfd", [(7, 6), (8, 9), (3, 250), (0, 1), (1, 0), (6, 0), (1, 7)])
def test_other_descriptors(pki, rfd, wfd):
    """-6 and -7 say where the network is, and prog finds its pipes there."""
    prog = python(FDS + f"os.write({wfd}, b'out'); assert os.read({rfd}, 2) == b'in'")
    with Tlsc(pki, prog, ["-k", "localhost", "-6", str(rfd), "-7", str(wfd)], rfd=rfd, wfd=wfd) as tlsc:
        server = serve(tlsc, pki)
        assert server.read_exactly(3) == b"out"
        server.send(b"in")
        assert server.read_all() == b""
        server.close()
        assert tlsc.wait() == 0
        fds = found(tlsc.stderr())
    assert sorted(fds) == sorted({0, 1, 2, rfd, wfd})
    assert fds[rfd].startswith("pipe:") and fds[wfd].startswith("pipe:")


@pytest.mark.parametrize("options, close, fd", [
    ([], [6], 6), ([], [7], 7), ([], [6, 7], 6), (["-6", "99"], [], 99), (["-7", "99"], [], 99),
    (["-6", "0"], [0], 0), (["-7", "1"], [1], 1), (["-6", "0"], [0, 1, 2], 0)])
def test_network_that_is_not_there(pki, options, close, fd):
    """A closed descriptor where the network should be: 111, and not what is opened there instead."""
    with Tlsc(pki, ["true"], options, close=close) as tlsc:
        assert tlsc.wait() == 111
        if 2 not in close:
            assert f"fd {fd}, where the network should be, is closed" in tlsc.stderr()


@pytest.mark.parametrize("close", [[0], [1], [2], [0, 1], [0, 1, 2]])
def test_standard_descriptors_closed_at_start(pki, close):
    """Whichever of 0, 1 and 2 is closed is /dev/null for prog, and nothing else gets there."""
    with tempfile.NamedTemporaryFile("r") as told:
        prog = python(f"sys.stderr = open({told.name!r}, 'w')\n" + FDS + "sys.stderr.flush(); os.write(7, b'x')")
        with Tlsc(pki, prog, close=close) as tlsc:
            server = serve(tlsc, pki)
            assert server.read_all() == b"x"
            server.close()
            assert tlsc.wait() == 0
        fds = found(told.read())
    assert all(fds[fd] == "/dev/null" for fd in close)
    assert {fd for fd, what in fds.items() if what != told.name} == {0, 1, 2, 6, 7}


def test_connection_never_reaches_prog(pki):
    """What else is the connection is /dev/null on 0 to 2, and closed above; messages do not go there."""
    with tempfile.NamedTemporaryFile("r") as told:
        prog = python(f"sys.stderr = open({told.name!r}, 'w')\n" + FDS + "sys.stderr.flush()")
        command = [*"bash -c".split(), 'exec 0<&6 1>&6 2>&6 8<&6; exec "$@"', "bash", TLSC, "-v3", *prog]
        sock, wire = tcp_pair()
        with placed(wire, wire, command) as (command, high):
            proc = subprocess.Popen(command, env=minimal_environment(CAFILE=pki.cafile), pass_fds=high)
        wire.close()
        server = Client(sock, pki).handshake()
        assert server.read_all() == b"" and server.end == "fin"
        server.close()
        assert proc.wait(LIMIT) == 0
        fds = found(told.read())
    assert [fds[fd] for fd in range(3)] == ["/dev/null"] * 3
    assert {fd for fd, what in fds.items() if what != told.name} == {0, 1, 2, 6, 7}


def test_end_of_progs_own_output_waits_for_nobody(pki, version):
    """Who reads prog's stdout sees its end with prog's exit, however long the connection lingers."""
    with Tlsc(pki, ["echo", "done"], ["-k", "localhost", FOREVER]) as tlsc:
        server = serve(tlsc, pki, version)
        assert tlsc.proc.stdout.read() == b"done\n"
        assert tlsc.proc.poll() is None
        server.close()
        assert tlsc.wait() == 0


def test_progs_own_input_is_read_by_nobody_else(pki):
    """Once prog has closed its stdin, whoever writes there is told: no copy is left."""
    with Tlsc(pki, ["sh", "-c", "exec <&-; echo closed >&7; cat <&6"], stdin=subprocess.PIPE) as tlsc:
        server = serve(tlsc, pki)
        assert server.read_exactly(7) == b"closed\n"
        with pytest.raises(BrokenPipeError):
            os.write(tlsc.proc.stdin.fileno(), b"x")
        server.fin()
        assert server.read_all() == b""
        assert tlsc.wait() == 0
        with contextlib.suppress(BrokenPipeError):
            tlsc.proc.stdin.close()


@pytest.mark.parametrize("fd, why", [(6, "is the connection itself"), (7, "is the connection itself"),
                                     (8, "is the connection itself"), (99, "is not open")])
def test_log_fd_must_be_another(pki, fd, why):
    """--log-fd is none of the connection's descriptors, by number or by what it is."""
    with placed(*tcp_pair(), ["bash", "-c", 'exec 8<&6; exec "$@"', "bash", TLSC, f"--log-fd={fd}", "true"]) as (
            command, high):
        done = subprocess.run(command, env=minimal_environment(CAFILE=pki.cafile), pass_fds=high, timeout=LIMIT,
                              stderr=subprocess.PIPE, text=True)
    assert done.returncode == 100
    assert f"--log-fd={fd} {why}" in one_line(done.stderr)


# -- before the network ------------------------------------------------------

@pytest.mark.parametrize("options, env, code, why", [
    ([], {"CAFILE": None}, 100, "verification needs CADIR or CAFILE, and neither is set"),
    ([], {"CAFILE": "/nowhere"}, 111, "CAFILE /nowhere: cannot open"),
    ([], {"CAFILE": "/dev/null"}, 96, "CAFILE /dev/null: "),
    (["-y"], {}, 100, "CERTFILE is not set"),
    (["-y"], {"CERTFILE": "server"}, 100, "KEYFILE is not set"),
    (["-y"], {"CERTFILE": "server", "KEYFILE": "client"}, 96, "does not belong to"),
    (["-y"], {"CERTFILE": "/nowhere", "KEYFILE": "client"}, 111, "CERTFILE /nowhere"),
    (["-x"], {}, 100, "unknown option -x"),
    (["-k", "a b"], {}, 100, "-k takes a DNS name or an IP address"),
    (["-6", "7"], {}, 100, "-6 and -7 name the same descriptor, 7"),
])
def test_what_is_wrong_is_found_before_the_network(pki, options, env, code, why):
    """Not a byte is sent or read when a file, variable or option is at fault."""
    names = {"server": pki.server, "client": pki.client}
    env = {name: getattr(names[value], name.lower()) if value in names else value for name, value in env.items()}
    with Tlsc(pki, ["true"], ["-k", "localhost", *options], env) as tlsc:
        with contextlib.suppress(OSError):
            tlsc.sock.sendall(b"unread")
        assert tlsc.wait() == code
        assert why in one_line(tlsc.stderr())
        with contextlib.suppress(ConnectionResetError):
            assert tlsc.sock.recv(100) == b""


def test_key_and_certificate_are_not_needed_without_y(pki):
    """Nor looked at: -Y, the default, shows no certificate."""
    with session(pki, ["echo", "hi"], ["-y", "-Y"], env={"KEYFILE": "/nowhere", "CERTFILE": "/nowhere"}) as (_, server):
        assert server.read_all() == b"hi\n"


# -- whom it asks for --------------------------------------------------------

def hello(tlsc, pki):
    """The name in the ClientHello that comes; None: none."""
    context, seen = server_context(pki.server), []
    context.sni_callback = lambda _, name, __: seen.append(name)
    server = Client(tlsc.sock, pki, context=context)
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        server.handshake()
    return seen[0]


@pytest.mark.parametrize("options, name", [
    (["-k", "localhost"], "localhost"), (["-k", "LOCALHOST."], "localhost"), (["--servername=a-b.c_d"], "a-b.c_d"),
    (["-k", "127.0.0.1"], None), (["-k", "::1"], None), ([], None),
    (["-k", "other", "--no-verify-name"], "other"), (["-k", "other", "--no-verify-cert"], "other")])
def test_server_name_indication(pki, options, name):
    """The name of -k stands in the ClientHello, an address never."""
    with Tlsc(pki, ["true"], options) as tlsc:
        assert hello(tlsc, pki) == name
        tlsc.sock.close()
        tlsc.wait()


@pytest.mark.parametrize("options, warning", [
    (["-k", "localhost"], None),
    (["-k", "127.0.0.1"], None),
    ([], NO_NAME),
    (["--no-verify-name"], "--no-verify-name: the server can be any that a trust anchor stands for, whatever its name"),
    (["-k", "other", "--no-verify-name"],
     "--no-verify-name: the server can be any that a trust anchor stands for, whatever its name"),
    (["--no-verify-cert"], "--no-verify-cert: the server can be anybody"),
])
@pytest.mark.parametrize("verbosity", [0, 1])
def test_what_is_not_verified_is_warned_of(pki, version, options, warning, verbosity):
    """Once, at each start, but not under -v0."""
    with Tlsc(pki, ["true"], [*options, f"-v{verbosity}"]) as tlsc:
        server = serve(tlsc, pki, version)
        assert server.read_all() == b""
        server.close()
        assert tlsc.wait() == 0
        if warning and verbosity:
            assert warning in one_line(tlsc.stderr(), "warning")
        else:
            assert tlsc.stderr() == ""


def test_unverified_server_is_not_told_of_as_verified(pki):
    """Under --no-verify-cert nobody is known; CAFILE need not be there."""
    prog = ["sh", "-c", "echo ${SSL_PEER_CERT_HASH-none} ${SSL_PEER_CERT_SUBJECT-none} $SSL_PROTOCOL >&7"]
    env = {"CAFILE": None, "SSL_PEER_CERT_SUBJECT": "CN=root", "SSL_PEER_CERT_HASH": "SHA256:0"}
    with Tlsc(pki, prog, ["--no-verify-cert"], env) as tlsc:
        assert re.fullmatch(rb"none none TLSv1\.[23]\n", serve(tlsc, pki).read_all())


# -- what prog learns --------------------------------------------------------

def test_environment(pki, version):
    """SSL_* tell of the server; a name that was asked for is none of them; what is read is removed; the rest stays."""
    env = {"TCPREMOTEIP": "mine", "PROTO": "TCP", "SSL_TLS_SNI_SERVERNAME": "evil", "KEYFILE:x": "1", "TLS_UID": "61001",
           "TLS_GID": "61002"}
    with session(pki, ["env", "-0"], version=version, env=env) as (tlsc, server):
        got = dict(v.split("=", 1) for v in server.read_all().decode().split("\0")[:-1])
    assert got["SSL_PROTOCOL"] == f"TLSv{version}" and got["SSL_CIPHER"].startswith("TLS_")
    assert got["SSL_PEER_CERT_SUBJECT"] == "CN=localhost"
    assert re.fullmatch("SHA256:[0-9a-f]{64}", got["SSL_PEER_CERT_HASH"])
    assert (got["TCPREMOTEIP"], got["PROTO"]) == ("mine", "TCP")
    assert not {"SSL_TLS_SNI_SERVERNAME", "CAFILE", "TLS_UID", "TLS_GID", "KEYFILE:x"} & set(got)


def test_keep(pki):
    """-Z leaves the variables that are read."""
    with session(pki, ["sh", "-c", "echo $CAFILE"], ["-Z"]) as (_, server):
        assert server.read_all().decode() == pki.cafile + "\n"


# -- its own certificate -----------------------------------------------------

KINDS = ["p256", "p384", "rsa2048"] + ["ed25519"] * ABLE.ed25519


def demanding(pki, version):
    """The context of a server that demands a client's certificate."""
    context = server_context(pki.server)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(pki.cafile)
    context.minimum_version = context.maximum_version = TLS[version]
    return context


@pytest.mark.parametrize("kind", KINDS)
def test_client_certificate_is_shown(pki, version, kind):
    """-y: the server that asks gets certificate and proof, with every kind of key."""
    who = pki.issue(f"client-{kind}-{version}", "alice", key=kind)
    with Tlsd(pki, ["echo", "hi"], ["-y"], env={"KEYFILE": who.keyfile, "CERTFILE": who.certfile}) as tlsc:
        server = Client(tlsc.sock, pki, context=demanding(pki, version)).handshake()
        assert server.tls.getpeercert(True) == who.cert_der()
        assert server.read_all() == b"hi\n"
        server.close()
        assert (tlsc.wait(), tlsc.stderr()) == (0, "")


def test_client_certificate_is_not_shown_unasked(pki, version):
    """A server that does not ask gets none, nor one that asks under -Y."""
    env = {"KEYFILE": pki.client.keyfile, "CERTFILE": pki.client.certfile}
    for options in ["-y"], ["-Y"]:
        with Tlsd(pki, ["echo", "hi"], options, env=env) as tlsc:
            context = server_context(pki.server)
            if options == ["-Y"]:
                context.verify_mode = ssl.CERT_OPTIONAL
                context.load_verify_locations(pki.cafile)
            context.minimum_version = context.maximum_version = TLS[version]
            server = Client(tlsc.sock, pki, context=context).handshake()
            assert not server.tls.getpeercert(True)
            assert server.read_all() == b"hi\n"
            server.close()
            assert (tlsc.wait(), tlsc.stderr()) == (0, "")


def test_server_that_demands_a_certificate_and_gets_none(pki, version):
    """98; with TLS 1.3 prog may run by then."""
    with Tlsd(pki, ["cat"]) as tlsc:
        server = Client(tlsc.sock, pki, context=demanding(pki, version))
        with pytest.raises(ssl.SSLError):
            server.handshake()
        assert wire_end(tlsc.sock) in ("fin", "reset")
        tlsc.sock.close()
        assert tlsc.wait() == 98
        assert re.search("(handshake|TLS) failed: .*(certificate|handshake|reset)", one_line(tlsc.stderr()))


# -- messages ----------------------------------------------------------------

def test_server_by_another_name_learns_nothing_of_the_client(pki, version):
    """It is told so, and gets neither certificate nor signature, nor anything else of the client's last flight."""
    other = pki.issue("elsewhere", "elsewhere", names=["elsewhere.example"])
    env = {"KEYFILE": pki.client.keyfile, "CERTFILE": pki.client.certfile}
    with Tlsc(pki, ["true"], ["-k", "localhost", "-y"], env) as tlsc:
        context = demanding(pki, version)
        context.load_cert_chain(other.certfile, other.keyfile)
        server = Client(tlsc.sock, pki, context=context)
        assert server.fill()
        with pytest.raises(ssl.SSLWantReadError):
            server.tls.do_handshake()
        server.flush()
        answer = tlsc.sock.recv(65536)
        if version == "1.2":
            assert answer == b"\x15\3\3\0\2\2\x2a"
        server.inbound.write(answer)
        with pytest.raises(ssl.SSLError, match="SSLV3_ALERT_BAD_CERTIFICATE"):
            server.tls.do_handshake()
        assert wire_end(tlsc.sock) == "fin"
        tlsc.sock.close()
        assert tlsc.wait() == 98
        assert "it is not for localhost, but for elsewhere.example" in one_line(tlsc.stderr())


def test_handshake_line_tells_of_the_server(pki, version):
    """At -v2: protocol, cipher, subject, names and the end of its time; no name that was only asked for."""
    with session(pki, ["true"], ["-v2"], version) as (tlsc, server):
        server.read_all()
        server.close()
        assert tlsc.wait() == 0
        lines = [line for line in tlsc.stderr().splitlines() if "event=handshake" in line]
    got = fields(lines[0])
    assert len(lines) == 1 and lines[0].startswith("s6-tlsc: info: pid=")
    assert (got["protocol"], got["subject"], got["names"]) == (f"TLSv{version}", "CN=localhost", "localhost,127.0.0.1")
    assert got["expires"] == pki.server.cert.not_valid_after.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert "sni" not in got


def test_names_in_the_log_cannot_lie(pki):
    """Whatever stands in a certificate is one line, and cannot look like another field."""
    bad = pki.issue("odd-names", "localhost", names=["localhost", 'x" code=0 y="', "a\nb", "c d"])
    with session(pki, ["true"], ["-v2"], identity=bad) as (tlsc, server):
        server.read_all()
        server.close()
        assert tlsc.wait() == 0
        line, = [line for line in tlsc.stderr().splitlines() if "event=handshake" in line]
    assert line.isprintable() and line.isascii()
    assert re.search(r'names="localhost,[^" ]*" expires=\S+ ms=\d+$', line), line


# -- processes ---------------------------------------------------------------

def test_prog_never_runs_for_a_stranger(pki, tmp_path, version):
    """A server that is not trusted: 98, told why, prog not run, the server told."""
    stranger = pki.issue("stranger-server", "localhost", issuer=None, names=["localhost"], issuer_key=new_key())
    with Tlsd(pki, ["touch", str(tmp_path / "ran")]) as tlsc:
        assert refusal(Client(tlsc.sock, pki, version, stranger)).startswith("alert: ")
        tlsc.sock.close()
        assert tlsc.wait() == 98
        assert "handshake failed: the peer's certificate is refused: " in one_line(tlsc.stderr())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("prog, why", [(["/nowhere"], "No such file or directory"), (["/etc"], "Permission denied")])
def test_prog_that_cannot_be_run(pki, version, prog, why):
    """111, and the server sees a connection that ends without data."""
    with Tlsc(pki, prog) as tlsc:
        server = serve(tlsc, pki, version)
        assert server.read_all() == b""
        server.close()
        assert tlsc.wait() == 111
        assert f"cannot run {prog[0]}: {why}" in one_line(tlsc.stderr())


@pytest.mark.parametrize("who", ["monitor", "engine", "prog"])
def test_one_is_killed(pki, version, who):
    """Whichever dies, the others end, and the code says how."""
    with Tlsc(pki, ["sh", "-c", "cat <&6 >&7"], preexec_fn=os.setsid) as tlsc:
        server = serve(tlsc, pki, version)
        server.send(b"x")
        assert server.read_exactly(1) == b"x"
        engine, prog = tlsc.engine(), tlsc.prog()
        os.kill({"monitor": tlsc.pid, "engine": engine, "prog": prog}[who], signal.SIGKILL)
        assert wire_end(tlsc.sock) == ("fin" if who == "prog" else "reset")
        tlsc.sock.close()
        assert tlsc.wait() == {"monitor": -9, "engine": 98, "prog": 137}[who]
        for pid in engine, prog:
            wait_for(lambda: (status_of(pid, "State") or "Z")[0] in "ZX", "the others to end")


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal(pki, version, signal_):
    """The connection ends as a failure does, prog gets the signal, and the program dies of it."""
    with Tlsc(pki, ["sh", "-c", "cat <&6 >&7"]) as tlsc:
        server = serve(tlsc, pki, version)
        server.send(b"x")
        assert server.read_exactly(1) == b"x"
        tlsc.proc.send_signal(signal_)
        assert wire_end(tlsc.sock) == "reset"
        assert (tlsc.wait(), tlsc.stderr()) == (-signal_, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root has privileges to drop")
@pytest.mark.parametrize("options", [[], ["-y"]])
def test_who_runs_as_whom(pki, version, options):
    """With TLS_UID and TLS_GID, engine and monitor have dropped when prog runs, which keeps what it was started with."""
    env = {"TLS_UID": "61001", "TLS_GID": "61002", "KEYFILE": pki.client.keyfile, "CERTFILE": pki.client.certfile}
    with session(pki, ["cat"], options, version, env=env) as (tlsc, server):
        server.send(b"x")
        assert server.read_exactly(1) == b"x"
        for pid, uid, gid in (tlsc.engine(), 61001, 61002), (tlsc.pid, 61001, 61002), (tlsc.prog(), 0, 0):
            assert status_of(pid, "Uid") == "\t".join([str(uid)] * 4)
            assert status_of(pid, "Gid") == "\t".join([str(gid)] * 4)
        assert int(status_of(tlsc.engine(), "CapPrm"), 16) == 0
        server.fin()
        assert tlsc.wait() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: nobody else sees the descriptors of a sealed process")
def test_engine_is_sealed_before_it_hears_a_byte(pki):
    """It has no new privileges, a filter, and nothing of prog's descriptors, while the server is still silent."""
    with Tlsc(pki, ["true"], stdin=subprocess.PIPE) as tlsc:
        engine = tlsc.engine()
        wait_quiet(tlsc.pid, engine)
        if "S6_TLSD_SANITIZED" not in os.environ:
            assert status_of(engine, "NoNewPrivs") == "1"
            assert status_of(engine, "Seccomp") == "2"
        links = {fd: os.readlink(f"/proc/{engine}/fd/{fd}") for fd in os.listdir(f"/proc/{engine}/fd")}
        assert [links[fd] for fd in "012"] == ["/dev/null"] * 3
        assert links["6"].startswith("socket:") and links["7"].startswith("socket:")

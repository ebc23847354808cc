"""s6-tlsclient: the connection it makes, what prog learns of it, and the terminal in prog's place."""

import contextlib
import os
import pty
import re
import select
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import tty

import pytest

from apart import Dns, Void, apart
from harness import (LIMIT, TLSCLIENT, Client, Tlsd, children, fields, minimal_environment, one_line,
                     python, status_of, survivors, wait_for, wait_quiet)

ROLES = ["client"]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root has privileges to drop")


class Tlsclient:
    """A running s6-tlsclient. listener: what it connects to (made here by default), host: by this name."""

    def __init__(self, pki, prog=(), options=("-H",), host="127.0.0.1", port=None, env=None, listener=None, **kw):
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LIMIT)
        self.port = self.listener.getsockname()[1]
        self.sock = None
        variables = minimal_environment(env, CAFILE=pki.cafile)
        self.log = tempfile.TemporaryFile()
        for name, default in ("stdin", subprocess.PIPE), ("stdout", subprocess.PIPE), ("stderr", self.log):
            kw.setdefault(name, default)
        self.proc = subprocess.Popen([TLSCLIENT, *options, host, str(port or self.port), *prog], env=variables, **kw)
        self.pid = self.proc.pid

    stderr = Tlsd.stderr
    wait = Tlsd.wait
    engine = Tlsd.engine
    prog = Tlsd.prog

    def accept(self):
        self.sock, self.peer = self.listener.accept()
        self.sock.settimeout(LIMIT)
        return self.sock

    def handshake(self, pki, version=None, **kw):
        """The server's side of the connection that comes, the handshake done."""
        return Client(self.accept(), pki, version, **kw).handshake()

    def write(self, data):
        self.proc.stdin.write(data)
        self.proc.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.close()
        if self.sock:
            self.sock.close()
        if self.proc.poll() is None:
            for pid in [self.pid, *children(self.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.proc.wait()
        for stream in filter(None, (self.proc.stdin, self.proc.stdout)):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self.log.close()


def fatal(client):
    """The one message of a program that never had a connection: it names no peer, and is not the peer's fault."""
    return one_line(client.stderr().replace("s6-tlsclient: ", "s6-tlsc: "))


def nobody_called(client):
    return not select.select([client.listener], [], [], 0)[0]


@contextlib.contextmanager
def unused_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield s.getsockname()[1]


# -- what prog gets ------------------------------------------------------------

HI, SHOW = (["sh", "-c", words] for words in ("echo hi >&7", "env -0 >&7"))
INHERITED = {name: "inherited" for name in (
    "PROTO", "TCPLOCALIP", "TCPLOCALPORT", "TCPLOCALHOST", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPREMOTEHOST",
    "TCPREMOTEINFO", "SSL_PROTOCOL", "SSL_TLS_SNI_SERVERNAME", "OTHER")}


def shown(client, pki, version=None):
    server = client.handshake(pki, version)
    text = server.read_all().decode()
    server.close()
    assert client.wait() == 0
    return dict(v.split("=", 1) for v in text.split("\0")[:-1])


def test_variables(pki, version):
    """Both ends of the connection by number, nothing that was inherited, and what the session is."""
    with Tlsclient(pki, SHOW, env=INHERITED) as client:
        got = shown(client, pki, version)
        local, remote = client.peer, ("127.0.0.1", client.port)
    assert (got["PROTO"], got["OTHER"]) == ("TCP", "inherited")
    assert (got["TCPLOCALIP"], int(got["TCPLOCALPORT"])) == local
    assert (got["TCPREMOTEIP"], int(got["TCPREMOTEPORT"])) == remote
    assert not {"TCPLOCALHOST", "TCPREMOTEHOST", "TCPREMOTEINFO", "SSL_TLS_SNI_SERVERNAME", "CAFILE"} & set(got)
    assert (got["SSL_PROTOCOL"], got["SSL_PEER_CERT_SUBJECT"]) == (f"TLSv{version}", "CN=localhost")


def test_variables_over_ipv6(pki):
    own = pki.issue("six", "six", names=["::1"])
    with Tlsclient(pki, SHOW, host="::1", listener=socket.create_server(("::1", 0), family=socket.AF_INET6)) as client:
        server = client.handshake(pki, identity=own)
        got = dict(v.split("=", 1) for v in server.read_all().decode().split("\0")[:-1])
    assert (got["TCPLOCALIP"], got["TCPREMOTEIP"], got["TCPREMOTEPORT"]) == ("::1", "::1", str(client.port))


@pytest.mark.parametrize("options, local", [([], None), (["-l", "here"], "here"), (["-l0"], "0"), (["-h", "-l0"], "0")])
def test_local_name_is_what_l_says(pki, options, local):
    """-l needs no look-up, and stands even under -H; it need not be a name."""
    with Tlsclient(pki, SHOW, ["-H", *options], env=INHERITED) as client:
        got = shown(client, pki)
    assert got.get("TCPLOCALHOST") == local


@apart
def test_names_are_looked_up(pki, names):
    """By default and with -h both addresses' names are known; with -H neither, and nobody is asked."""
    names("127.0.0.2 there.example\n")
    with Dns({("1.0.0.127.in-addr.arpa", "PTR"): "here.example"}) as dns:
        for options, known in ([], True), (["-h"], True), (["-H"], False), (["-Hh"], True), (["-hH"], False):
            dns.asked.clear()
            listener = socket.create_server(("127.0.0.2", 0))
            own = pki.issue("there", "there", names=["there.example"])
            with Tlsclient(pki, SHOW, ["-i127.0.0.1", *options], "there.example", listener=listener) as client:
                server = client.handshake(pki, identity=own)
                got = dict(v.split("=", 1) for v in server.read_all().decode().split("\0")[:-1])
            expected = ("here.example", "there.example") if known else (None, None)
            assert (got.get("TCPLOCALHOST"), got.get("TCPREMOTEHOST")) == expected
            assert dns.asked == (["1.0.0.127.in-addr.arpa"] if known else [])


def test_descriptors(pki):
    """prog's 6 and 7 are pipes, whatever they were at the start; its own 0 to 2 stay; nothing of ours is there."""
    code = ("print(*sorted((n, os.readlink('/proc/self/fd/' + n).split(':')[0]) for n in os.listdir('/proc/self/fd')"
            " if os.path.exists('/proc/self/fd/' + n)), sep='\\n')")
    for inherited in "", "6</dev/null 7</dev/zero 9</dev/null":
        with tempfile.TemporaryFile("w+") as out:
            shell = ["bash", "-c", f'exec {inherited}; exec "$@"', "bash"]
            listener = socket.create_server(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            proc = subprocess.Popen([*shell, TLSCLIENT, "-H", "127.0.0.1", str(port), *python(code)],
                                    env=minimal_environment(CAFILE=pki.cafile), stdin=subprocess.DEVNULL, stdout=out)
            with listener, listener.accept()[0] as sock:
                server = Client(sock, pki).handshake()
                assert server.read_all() == b""
            assert proc.wait(LIMIT) == 0
            out.seek(0)
            text = out.read()
        got = dict(eval(line) if line.startswith("(") else line.split() for line in text.splitlines())
        assert set(got) == {"0", "1", "2", "6", "7"} | ({"9"} if inherited else set())
        assert got["6"] == got["7"] == "pipe"


# -- whom it believes ------------------------------------------------------------

@pytest.mark.parametrize("options, good", [
    ([], True), (["-H"], True), (["-k", "localhost"], True), (["-k", "127.0.0.1"], True), (["-k", "other"], False),
    (["-H", "-k", "other"], False), (["-k", "other", "--no-verify-name"], True), (["-k", "192.0.2.1"], False)])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST."])
def test_host_is_whom_the_certificate_must_name(pki, version, host, options, good):
    """-k is the host unless said otherwise, name or address, whatever -H says."""
    with Tlsclient(pki, ["echo"], ["-4", "-Q", *options], host) as client:
        if good:
            client.handshake(pki, version).close()
            assert client.wait() in (0, 98)  # the server is gone before prog's end
        else:
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert client.handshake(pki, version).read_all() == b""
            client.sock.close()
            assert client.wait() == 98
            assert re.search(f"refused: it is not for {options[-1]}, but for localhost, 127.0.0.1$", client.stderr())


def test_another_host_is_not_believed(pki, version):
    """-H looks nothing up, and verifies all the same."""
    own = pki.issue("elsewhere", "elsewhere", names=["elsewhere.example"])
    for options in ["-H"], []:
        with Tlsclient(pki, ["echo", "ran"], ["-4", *options], "localhost") as client:
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert client.handshake(pki, version, identity=own).read_all() == b""
            client.sock.close()
            assert client.wait() == 98
            assert client.proc.stdout.read() == b""
            assert "it is not for localhost, but for elsewhere.example" in client.stderr()


# -- before the network --------------------------------------------------------

@pytest.mark.parametrize("options, env, code, why", [
    ([], {"CAFILE": None}, 100, "verification needs CADIR or CAFILE"),
    ([], {"CAFILE": "/nowhere"}, 111, "CAFILE /nowhere"),
    (["-y"], {}, 100, "CERTFILE is not set"),
    (["-y"], {"CERTFILE": "server", "KEYFILE": "client"}, 96, "does not belong to"),
    (["-i", "localhost"], {}, 100, "-i takes an IP address"),
    (["-T", "x"], {}, 100, "-T takes seconds"),
    (["--log-fd=6"], {}, 100, "--log-fd=6 is "),
    (["--log-fd=7"], {}, 100, "--log-fd=7 is "),
])
def test_what_is_wrong_is_found_before_the_connection(pki, options, env, code, why):
    """No connection is made when a file, variable or option is at fault."""
    known = {"server": pki.server, "client": pki.client}
    env = {name: getattr(known[value], name.lower()) if value in known else value for name, value in env.items()}
    with Tlsclient(pki, ["true"], options, env=env) as client:
        assert client.wait() == code
        assert why in fatal(client)
        assert nobody_called(client)


@apart
def test_nobody_is_asked_before_all_is_in_order(pki, names):
    """Not even a name server hears of a start whose key does not fit."""
    names()
    with Dns({("server.example", "A"): "127.0.0.1"}) as dns:
        env = {"KEYFILE": pki.client.keyfile, "CERTFILE": pki.server.certfile}
        with Tlsclient(pki, ["true"], ["-y"], "server.example", env=env) as client:
            assert client.wait() == 96
        assert dns.asked == []
        env["CERTFILE"] = pki.client.certfile
        with Tlsclient(pki, ["true"], ["-y", "-H"], "server.example", env=env) as client:
            client.accept().close()
            assert client.wait() == 98
        assert dns.asked == ["server.example"]


@pytest.mark.parametrize("host, why", [("0", "no certificate can name the host \"0\""), ("a b", "no certificate can")])
def test_host_that_no_certificate_can_name(pki, host, why):
    with Tlsclient(pki, ["true"], host=host) as client:
        assert client.wait() == 100
        assert why in fatal(client)


# -- the connection ------------------------------------------------------------

def test_refused(pki):
    with unused_port() as port, Tlsclient(pki, ["true"], port=port) as client:
        assert client.wait() == 111
        assert fatal(client) == f"cannot connect to 127.0.0.1 port {port}: 127.0.0.1: Connection refused"


def test_unknown_host_and_service(pki):
    with Tlsclient(pki, ["true"], host="nowhere.invalid") as client:
        assert client.wait() == 111
        assert fatal(client).startswith("cannot resolve nowhere.invalid: ")
    with Tlsclient(pki, ["true"], port="no-such-service") as client:
        assert client.wait() == 111
        assert "no-such-service" in fatal(client)


@pytest.mark.parametrize("option, ip", [("-6", "127.0.0.1"), ("-4", "::1")])
def test_families(pki, option, ip):
    """-4 and -6 leave the other family out."""
    with Tlsclient(pki, ["true"], [option], ip) as client:
        assert client.wait() == 111
        assert fatal(client).startswith(f"cannot resolve {ip}: ") and nobody_called(client)


def test_own_address_and_port(pki):
    with unused_port() as port:
        pass
    with Tlsclient(pki, ["echo", "hi"], ["-i", "127.0.0.5", "-p", str(port), "-H"]) as client:
        client.handshake(pki)
        assert client.peer == ("127.0.0.5", port)


@ROOT_ONLY
@pytest.mark.parametrize("ids", [{}, {"TLS_UID": "61001", "TLS_GID": "61002"}], ids=["root", "TLS_UID"])
def test_low_port_of_root(pki, ids):
    """-p below 1024 works for root, whose engine has dropped its ids by then, and has no capability left then."""
    with Tlsclient(pki, ["cat"], ["-H", "-p", "1000", "-i", "127.77.0.1"], env=ids) as client:
        server = client.handshake(pki)
        assert client.peer == ("127.77.0.1", 1000)
        client.prog()
        engine = client.engine()
        assert status_of(engine, "CapPrm") == status_of(engine, "CapEff") == "0" * 16
        assert status_of(engine, "Uid") == "\t".join([ids.get("TLS_UID", "0")] * 4)
        server.fin()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look into a process that nobody else may look into")
@pytest.mark.skipif("S6_TLSD_SANITIZED" in os.environ, reason="the leak checker does not work under strace")
@pytest.mark.parametrize("options, expected", [(["-D"], True), (["-d"], False), ([], False), (["-D", "-d"], False)])
def test_nodelay(pki, tmp_path, options, expected):
    """-D sets TCP_NODELAY, and for the handshake it is set anyway."""
    trace = tmp_path / "trace"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        strace = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=setsockopt"]
        proc = subprocess.Popen([*strace, TLSCLIENT, "-H", *options, "127.0.0.1", str(listener.getsockname()[1]), "true"],
                                env=minimal_environment(CAFILE=pki.cafile))
        with listener.accept()[0] as sock:
            Client(sock, pki).handshake().read_all()
        assert proc.wait(LIMIT) == 0
    told = re.findall(r"TCP_NODELAY, \[(\d)\]", trace.read_text())
    assert (told[-1] if told else "0") == str(int(expected))


@pytest.mark.parametrize("options, told", [(["-r"], True), (["-R"], False), ([], False), (["-r", "-R"], False)])
def test_ident_is_not_done(pki, options, told):
    """-r is accepted, and warned of."""
    with Tlsclient(pki, ["true"], options) as client:
        client.handshake(pki).read_all()
        client.sock.close()
        assert client.wait() == 0
        assert (client.stderr() == "s6-tlsclient: warning: -r: IDENT is not done\n") == told
        assert told or client.stderr() == ""


@apart
@pytest.mark.parametrize("option, asked", [("-n", ["server.search", "server"]), ("-N", ["server"])])
def test_qualification(pki, names, option, asked):
    """-n has search domains tried; -N asks for the name as it stands."""
    names(search="search")
    with Dns() as dns, Tlsclient(pki, ["true"], [option], "server") as client:
        assert client.wait() == 111
    assert dns.asked == asked


@apart
def test_an_address_that_drops_packets_costs_little(pki, names):
    """A name with an IPv6 address behind which nothing answers: IPv4 has the connection in under a second."""
    names("2001:db8::2 localhost\n127.0.0.1 localhost\n")
    with Void() as void, Tlsclient(pki, HI, ["-H"], "localhost") as client:
        first = void.syn()
        client.accept()
        took = time.monotonic() - first.at
        assert first.to == "2001:db8::2"
        server = Client(client.sock, pki).handshake()
        assert server.read_all() == b"hi\n"
        server.close()
        assert client.wait() == 0
    assert took < 1


@apart
def test_rounds(pki):
    """-T: an address has x seconds, and y when it is tried again."""
    with Void() as void, Tlsclient(pki, ["true"], ["-T1+1", "--no-verify-cert"], "192.0.2.2", port=443) as client:
        assert len(void.attempts(client.proc)) == 2
        assert client.wait() == 111
        assert "cannot connect to 192.0.2.2 port 443: 192.0.2.2: timed out" in client.stderr()


@apart
def test_bound_on_the_whole(pki):
    """-t: no connection by then is none at all."""
    with Void() as void, Tlsclient(pki, ["true"], ["-t1"], "192.0.2.2", port=443) as client:
        void.syn()
        assert client.wait() == 111
        assert fatal(client) == "cannot connect to 192.0.2.2 port 443: not done, look-ups included, after 1 s"


@apart
@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signal_while_it_connects(pki, signal_):
    """The program dies of it at once, and the engine, which hears nothing then, with it."""
    with Void() as void, Tlsclient(pki, ["true"], host="192.0.2.2", port=443, preexec_fn=os.setsid) as client:
        void.syn()
        client.proc.send_signal(signal_)
        assert (client.wait(LIMIT / 2), client.stderr()) == (-signal_, "")
        wait_for(lambda: not survivors(client.pid), "the engine to end", LIMIT / 2)


@apart
def test_signal_to_all_while_it_connects(pki):
    """As from a terminal, to the whole group."""
    with Void() as void, Tlsclient(pki, ["true"], host="192.0.2.2", port=443, preexec_fn=os.setsid) as client:
        void.syn()
        os.killpg(client.pid, signal.SIGINT)
        assert (client.wait(LIMIT / 2), client.stderr()) == (-signal.SIGINT, "")
        wait_for(lambda: not survivors(client.pid), "the engine to end", LIMIT / 2)


@apart
def test_engine_killed_while_it_connects(pki):
    with Void() as void, Tlsclient(pki, ["true"], host="192.0.2.2", port=443) as client:
        void.syn()
        os.kill(client.engine(), signal.SIGKILL)
        assert client.wait() == 98
        assert fatal(client) == "engine died (signal 9)"


def test_clocks_begin_with_the_connection(pki, tmp_path):
    """What comes before it, here a key that is late, does not count for -K and --handshake-timeout."""
    key = tmp_path / "key"
    os.mkfifo(key)
    env = {"KEYFILE": str(key), "CERTFILE": pki.client.certfile}
    options = ["-H", "-y", "-K3000", "--handshake-timeout=3000"]
    with Tlsclient(pki, HI, options, env=env) as client:
        with open(key, "wb") as f:
            time.sleep(3.1)
            f.write(pki.client.key_pem())
        assert client.handshake(pki).read_all() == b"hi\n"
        client.sock.close()
        assert client.wait() == 0


def test_silent_server(pki):
    """--handshake-timeout holds from the connection on: 98."""
    with Tlsclient(pki, ["true"], ["-H", "--handshake-timeout=300", "--linger=0"]) as client:
        client.accept()
        assert client.wait() == 98
        assert "handshake failed: not done after 300 ms" in client.stderr()


# -- the terminal ----------------------------------------------------------------

def test_terminal_talks_both_ways(pki, version):
    """stdin goes to the server, what it says to stdout; the end of stdin is a half close; its end is the end, code 0."""
    with Tlsclient(pki) as client:
        server = client.handshake(pki, version)
        client.write(b"request\n")
        assert server.read_exactly(8) == b"request\n"
        server.send(b"answer\n")
        assert client.proc.stdout.readline() == b"answer\n"
        client.proc.stdin.close()
        assert server.read() == b"" and server.end == "fin"
        server.send(b"last words\n")
        server.fin()
        assert client.proc.stdout.read() == b"last words\n"
        assert (client.wait(), client.stderr()) == (0, "")


def test_terminal_goes_on_when_the_server_has_ended(pki, blob, version):
    """The server half closes: whoever reads stdout hears of it, and all of stdin is still sent."""
    size = 1_000_000
    with Tlsclient(pki) as client:
        server = client.handshake(pki, version)
        server.send(b"bye\n")
        server.fin()
        assert client.proc.stdout.read() == b"bye\n"
        writer = threading.Thread(target=lambda: (client.write(blob.data[:size]), client.proc.stdin.close()))
        writer.start()
        assert server.read_all() == blob.data[:size]
        writer.join()
        assert (client.wait(), client.stderr()) == (0, "")


def test_terminal_that_is_one_socket(pki):
    """As a super-server starts it: each end is told of the other's, half by half."""
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT)
    with ours, Tlsclient(pki, stdin=theirs, stdout=theirs) as client:
        theirs.close()
        server = client.handshake(pki)
        server.send(b"banner")
        server.fin()
        assert ours.recv(100) == b"banner" and ours.recv(100) == b""
        ours.sendall(b"answer")
        ours.shutdown(socket.SHUT_WR)
        assert server.read_all() == b"answer"
        assert (client.wait(), client.stderr()) == (0, "")


def test_terminal_ends_when_nobody_takes_its_input(pki, version):
    """A connection that is gone does not wait for more from stdin."""
    with Tlsclient(pki) as client:
        client.handshake(pki, version).reset()
        assert client.wait() == 98
        assert "the connection was reset" in client.stderr()


@pytest.mark.parametrize("size", [0, 1, 65537, 5_000_000])
def test_terminal_loses_nothing(pki, blob, version, size):
    """Both ways at once, each whole."""
    got = []
    with open(blob.path, "rb") as stdin, Tlsclient(pki, stdin=subprocess.PIPE) as client:
        server = client.handshake(pki, version)
        reader = threading.Thread(target=lambda: got.append(client.proc.stdout.read()))
        writer = threading.Thread(target=lambda: (client.proc.stdin.write(stdin.read(size)), client.proc.stdin.close()))
        reader.start(), writer.start()
        up = server.exchange(memoryview(blob.data)[:size])
        up += server.read_all()
        server.fin()
        reader.join(), writer.join()
        assert client.wait() == 0
    assert up == got[0] == blob.data[:size]


def test_terminal_does_not_wait_for_a_writer_while_it_reads(pki, blob):
    """A server that sends before it reads, and a stdin that is full: no deadlock."""
    size = 3_000_000
    with open(blob.path, "rb") as stdin, tempfile.TemporaryFile() as out, Tlsclient(pki, stdin=stdin, stdout=out) as c:
        server = c.handshake(pki)
        server.sock.sendall(server.encrypt(memoryview(blob.data)[:size]))
        server.fin()
        server.read_all()
        assert c.wait() in (0, 98)
        assert os.pread(out.fileno(), size + 1, 0) == blob.data[:size]


def test_terminal_on_a_terminal(pki):
    """A line at a time, as a person types it; end of file is as good as any."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    with Tlsclient(pki, stdin=theirs, stdout=theirs) as client:
        os.close(theirs)
        server = client.handshake(pki)
        os.write(ours, b"hello\n")
        assert server.read_exactly(6) == b"hello\n"
        server.send(b"you too\n")
        assert os.read(ours, 100) == b"you too\n"
        server.fin()
        server.read_all()
        assert client.wait() == 0
    os.close(ours)


def test_terminal_tells_of_the_server_first(pki, version):
    """At -v protocol, cipher, names and the end of the certificate's time come before a byte of the server's."""
    with Tlsclient(pki, options=["-v", "-H"], stderr=subprocess.STDOUT) as client:
        server = client.handshake(pki, version)
        server.send(b"data\n")
        server.fin()
        client.proc.stdin.close()
        text = client.proc.stdout.read().decode()
        assert client.wait() == 0
    line = text.splitlines()[0 if "TLS_UID" not in text.splitlines()[0] else 1]
    while "event=handshake" not in line:
        text = text.split("\n", 1)[1]
        assert not text.startswith("data")
        line = text.splitlines()[0]
    got = fields(line)
    assert (got["protocol"], got["names"]) == (f"TLSv{version}", "localhost,127.0.0.1")
    assert got["cipher"].startswith("TLS_") and got["expires"].endswith("Z")
    assert text.index("event=handshake") < text.index("\ndata\n")


def test_terminal_that_cannot_be_written(pki):
    """A full disk is told of, 111; a reader that is gone, as head(1) is, is not."""
    with open("/dev/full", "wb") as full, Tlsclient(pki, stdout=full) as client:
        server = client.handshake(pki)
        server.send(b"x")
        server.read_all()
        server.close()
        assert client.wait() == 111
        assert "cannot write standard output: No space left on device" in client.stderr()
    with Tlsclient(pki) as client:
        server = client.handshake(pki)
        client.proc.stdout.close()
        server.send(b"x")
        server.read_all()
        server.close()
        assert (client.wait(), client.stderr()) == (111, "")


def test_terminal_that_cannot_be_read(pki, tmp_path):
    """111 in the end; what the server says still arrives."""
    folder = os.open(tmp_path, os.O_RDONLY)
    with Tlsclient(pki, stdin=folder) as client:
        os.close(folder)
        server = client.handshake(pki)
        assert server.read_all() == b""
        server.send(b"answer")
        server.fin()
        assert client.proc.stdout.read() == b"answer"
        assert client.wait() == 111
        assert "cannot read standard input: Is a directory" in client.stderr()


def test_terminal_of_a_connection_that_is_cut(pki, version):
    """What came is written; 98."""
    with Tlsclient(pki) as client:
        server = client.handshake(pki, version)
        server.send(b"whole")
        assert client.proc.stdout.read(5) == b"whole"
        server.sock.sendall(server.encrypt(b"cut")[:-1])
        server.close()
        assert client.proc.stdout.read() == b""
        assert client.wait() == 98
        assert "the connection was cut inside a record" in client.stderr()


@pytest.mark.parametrize("close, fd", [("0<&-", 0), ("1>&-", 1), ("2>&-", None), ("0<&- 1>&- 2>&-", 0)])
def test_terminal_without_standard_descriptors(pki, close, fd):
    """Without a stdin or stdout there is no terminal: 111, and nobody is called. Messages are another matter."""
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryFile("w+") as log:
        proc = subprocess.Popen(["bash", "-c", f'exec {close}; exec "$@"', "bash", TLSCLIENT, "-H", "127.0.0.1",
                                 str(listener.getsockname()[1])], env=minimal_environment(CAFILE=pki.cafile),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        if fd is None:
            with listener.accept()[0] as sock:
                server = Client(sock, pki).handshake()
                assert server.read_all() == b""
                server.fin()
                assert proc.wait(LIMIT) == 0
        else:
            assert proc.wait(LIMIT) == 111
            assert not select.select([listener], [], [], 0)[0]
            log.seek(0)
            assert "2>&-" in close or f"fd {fd}, where the terminal should be, is closed" in log.read()


def test_terminals_stand_in_has_no_more_than_it_needs(pki):
    """It is sealed like the engine, has no capability, four or five descriptors, and comes to rest."""
    ids = {"TLS_UID": "61001", "TLS_GID": "61002"} if os.geteuid() == 0 else {}
    with Tlsclient(pki, env=ids) as client:
        server = client.handshake(pki)
        client.write(b"x")
        assert server.read_exactly(1) == b"x"
        stand_in = client.prog()
        assert status_of(stand_in, "CapPrm") == "0" * 16
        if ids:
            assert status_of(stand_in, "Uid") == "\t".join(["61001"] * 4)
        if "S6_TLSD_SANITIZED" not in os.environ:
            assert (status_of(stand_in, "NoNewPrivs"), status_of(stand_in, "Seccomp")) == ("1", "2")
        if os.geteuid() == 0:
            assert set(os.listdir(f"/proc/{stand_in}/fd")) == set("01267")
        wait_quiet(stand_in, client.engine(), client.pid)
        server.fin()
        client.proc.stdin.close()
        assert client.wait() == 0


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_terminal_is_interrupted(pki, signal_):
    """As by ^C, which goes to all."""
    with Tlsclient(pki, preexec_fn=os.setsid) as client:
        server = client.handshake(pki)
        client.write(b"x")
        assert server.read_exactly(1) == b"x"
        os.killpg(client.pid, signal_)
        assert (client.wait(), client.stderr()) == (-signal_, "")
        server.close()
        wait_for(lambda: not survivors(client.pid), "all to end")


def test_terminals_stand_in_is_killed(pki):
    """It counts as prog: 128 and the signal."""
    with Tlsclient(pki) as client:
        server = client.handshake(pki)
        os.kill(client.prog(), signal.SIGKILL)
        assert server.read_all() == b""
        server.close()
        assert client.wait() == 137


def test_terminal_leaves_a_socket_that_others_write_to(pki):
    """Where messages go to the same socket as stdout, the server's end is not that of the socket."""
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT)
    shell = ["sh", "-c", '"$@"; echo "code $?"', "sh", TLSCLIENT, "-H", "127.0.0.1", "{port}"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [word.replace("{port}", str(listener.getsockname()[1])) for word in shell]
        proc = subprocess.Popen(words, env=minimal_environment(CAFILE=pki.cafile), stdin=subprocess.DEVNULL,
                                stdout=theirs, stderr=theirs)
        theirs.close()
        with listener.accept()[0] as sock:
            server = Client(sock, pki).handshake()
            server.send(b"bye\n")
            server.fin()
            assert server.read_all() == b""
        assert proc.wait(LIMIT) == 0
        text = b"".join(iter(lambda: ours.recv(100), b""))
    ours.close()
    assert text == b"bye\ncode 0\n"

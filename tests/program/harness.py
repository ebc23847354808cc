"""What the program tests share: certificates, a running program, its TLS peer.

The program is s6-tlsd and the peer a client; or, where a test is run in that ROLE, the program is
s6-tlsc and the peer a server. The peer speaks TLS through memory BIOs, so that a test decides by itself
when a record, a close_notify, a FIN or a RST goes out. Every wait is for an
event and bounded by LIMIT, which is never reached when all is well.
"""

import contextlib
import ctypes
import datetime
import fcntl
import hashlib
import ipaddress
import os
import random
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from abilities import ABILITIES

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("S6_TLSD", os.path.join(ROOT, "build", "s6-tlsd"))
TLSC, TLSCLIENT = (os.path.join(os.path.dirname(PROGRAM), name) for name in ("s6-tlsc", "s6-tlsclient"))
SANITIZED = "S6_TLSD_SANITIZED" in os.environ
LIMIT = float(os.environ.get("S6_TLSD_LIMIT", "60"))
BACKEND = subprocess.run([PROGRAM, "--backend"], stdout=subprocess.PIPE, text=True, check=True).stdout.split(":")[0]
ABLE = ABILITIES[BACKEND]
TLS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
VERSIONS = ["1.2", "1.3"] if ABLE.tls13 else ["1.2"]
NEWEST = VERSIONS[-1]
PYTHON = sys.executable
ROLE = "server"  # of the program, for the test that runs now


def program_name():
    return "s6-tlsd" if ROLE == "server" else "s6-tlsc"


# -- certificates ------------------------------------------------------------

def new_key(kind="p256"):
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}[kind]())


def common_name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Identity:
    """A key, its certificate and the chain above it, as files on demand."""

    def __init__(self, key, cert, chain=()):
        self.key, self.cert, self.chain = key, cert, list(chain)

    def key_pem(self, form=serialization.PrivateFormat.PKCS8, encryption=serialization.NoEncryption()):
        return self.key.private_bytes(serialization.Encoding.PEM, form, encryption)

    def cert_pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def cert_der(self):
        return self.cert.public_bytes(serialization.Encoding.DER)

    def chain_pem(self):
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in [self.cert, *self.chain])

    def files(self, folder, name):
        """Writes name.key (mode 0600) and name.pem (leaf and chain); returns both paths."""
        key, cert = os.path.join(folder, name + ".key"), os.path.join(folder, name + ".pem")
        for path, data, mode in (key, self.key_pem(), 0o600), (cert, self.chain_pem(), 0o644):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
                f.write(data)
        return key, cert


def make_identity(subject, issuer=None, *, key="p256", ca=False, eku=None, names=(), start=-1, days=30, chain=False,
                  extensions=(), issuer_key=None, path_length=None):
    """Signs a certificate for `subject` (text or x509.Name). `start` and `days` are days from now.

    `issuer` is an Identity, or None for a self-signed one; with chain=True the issuer and its
    own chain are kept to be sent after the leaf. `issuer_key` signs instead of the issuer's.
    """
    if isinstance(subject, str):
        subject = common_name(subject)
    if isinstance(key, str):
        key = new_key(key)
    now = datetime.datetime.utcnow()
    signer = issuer_key or (issuer.key if issuer else key)
    builder = (x509.CertificateBuilder()
               .subject_name(subject).issuer_name(issuer.cert.subject if issuer else subject)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now + datetime.timedelta(days=start))
               .not_valid_after(now + datetime.timedelta(days=start + days))
               .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True))
    if names:
        alt = []
        for n in names:
            try:
                alt.append(x509.IPAddress(ipaddress.ip_address(n)))
            except ValueError:
                alt.append(x509.DNSName(n))
        builder = builder.add_extension(x509.SubjectAlternativeName(alt), critical=False)
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    cert = builder.sign(signer, algorithm)
    return Identity(key, cert, [issuer.cert, *issuer.chain] if chain and issuer else ())


class Pki:
    """A CA, a server and a client identity in one folder; issue() makes more."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.ca = make_identity("Test CA", ca=True)
        self.cafile = self.write("ca.pem", self.ca.cert_pem())
        self.server = self.issue("server", "localhost", names=["localhost", "127.0.0.1"],
                                 eku=[ExtendedKeyUsageOID.SERVER_AUTH])
        self.client = self.issue("client", "alice", eku=[ExtendedKeyUsageOID.CLIENT_AUTH])

    def write(self, name, data, mode=0o644):
        path = os.path.join(self.folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
            f.write(data)
        return path

    def issue(self, name, subject, issuer=None, **kw):
        """Returns an Identity that also has .keyfile and .certfile."""
        identity = make_identity(subject, issuer or self.ca, **kw)
        identity.keyfile, identity.certfile = identity.files(self.folder, name)
        return identity


# -- the program -------------------------------------------------------------

def tcp_pair(rcvbuf=None):
    """Two connected TCP sockets over loopback: (client's, server's)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client = socket.socket()
        if rcvbuf:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    client.settimeout(LIMIT)
    return client, server


def children(pid):
    """The pids of the children of `pid`."""
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(p) for p in f.read().split()]
    return []


def status_of(pid, field):
    """A field of /proc/PID/status, as text; None when the process is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(field + ":"):
                return line.split(":", 1)[1].strip()
    return None


def alive(pid):
    return (status_of(pid, "State") or "Z")[0] not in "ZX"


def stop(pid):
    """Stops a process, until SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: status_of(pid, "State").startswith("T"), "the process to stop")


def wait_for(condition, what="condition", limit=None):
    """Polls until condition() is true; returns its value. For what has no event to wait on, as /proc."""
    deadline = time.monotonic() + (limit or LIMIT)
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.04)  # a look at all processes is no small matter, with a dozen tests that take it


# A client's prog reads and writes where any other does.
ON_0_AND_1 = ["sh", "-c", 'exec "$@" 0<&6 1>&7 6<&- 7>&-', "sh"]


@contextlib.contextmanager
def placed(stdin, stdout, command, rfd=6, wfd=7):
    """(command, pass_fds) that runs `command` with stdin on rfd and stdout on wfd, and with no other copy of them."""
    high = [fcntl.fcntl(f, fcntl.F_DUPFD_CLOEXEC, 100) for f in (stdin, stdout)]
    try:
        shell = "exec {2}<&{0} {3}>&{1} {0}<&- {1}<&-; exec \"$@\"".format(*high, rfd, wfd)
        yield ["bash", "-c", shell, "bash", *command], high
    finally:
        for fd in high:
            os.close(fd)


def minimal_environment(env=None, **more):
    """What a program is started with; what env has comes on top, None takes a variable away."""
    names = ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
    variables = {name: os.environ[name] for name in names if name in os.environ} | more | (env or {})
    return {name: value for name, value in variables.items() if value is not None}


class Tlsd:
    """A running s6-tlsd, or s6-tlsc, with one end of a TCP connection; `sock` is the other end.

    options: list of words before prog; prog: list. env: variables added to a minimal
    environment that has KEYFILE and CERTFILE of pki.server (None removes one), for a client
    CAFILE. stdin, stdout: instead of the socket. stderr: "pipe" (default; read with .stderr()),
    "socket" (the connection itself, as inetd does), or an fd. preexec: a function run in the child.
    """

    def __init__(self, pki, prog, options=(), env=None, stdin=None, stdout=None, stderr="pipe", rcvbuf=None,
                 pass_fds=(), preexec=None, program=None):
        self.sock, server = tcp_pair(rcvbuf)
        self.peername = "%s:%d" % self.sock.getsockname()
        if ROLE == "server":
            variables = minimal_environment(env, KEYFILE=pki.server.keyfile, CERTFILE=pki.server.certfile)
        else:
            variables = minimal_environment(env, CAFILE=pki.cafile)
        self.log = tempfile.TemporaryFile()
        errors = {"pipe": self.log, "socket": server}.get(stderr, stderr)
        stdin, stdout = server if stdin is None else stdin, server if stdout is None else stdout
        start = dict(env=variables, preexec_fn=preexec, stderr=errors)
        if ROLE == "server":
            self.proc = subprocess.Popen([*(program or [PROGRAM]), *options, *prog], pass_fds=pass_fds, stdin=stdin,
                                         stdout=stdout, **start)
        else:
            command = [*(program or [TLSC]), "-k", "localhost", *options, *ON_0_AND_1, *prog]
            with placed(stdin, stdout, command) as (command, fds):
                self.proc = subprocess.Popen(command, pass_fds=[*pass_fds, *fds], stdin=subprocess.DEVNULL,
                                             stdout=subprocess.DEVNULL, **start)
        server.close()
        self.pid = self.proc.pid

    def wait(self, limit=None):
        """The exit code (negative: killed by that signal)."""
        return self.proc.wait(limit or LIMIT)

    def stderr(self, raw=False):
        """All that was written to stderr so far, but for what kernel, sanitizer or backend withhold from security."""
        text = os.pread(self.log.fileno(), 1 << 20, 0).decode()
        return text if raw else re.sub(r"^.* info: .* (sandbox: .* is missing: .*|the engine holds the private key: .*)\n", "", text, flags=re.M)

    def engine(self):
        """The engine's pid: the first child of the monitor."""
        return wait_for(lambda: children(self.pid), "the engine")[0]

    def prog(self):
        """prog's pid: the second child of the monitor, there when the handshake is over."""
        return wait_for(lambda: children(self.pid)[1:], "prog")[0]

    def close(self):
        self.sock.close()
        if self.proc.poll() is None:
            pids = [self.pid, *children(self.pid)]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.proc.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# -- watching it -------------------------------------------------------------

class Blob:
    """`size` bytes in the file `path` and in `data`, the same ones each time, of which no part is like another."""

    def __init__(self, path, size):
        self.path, self.data = str(path), random.Random(size).randbytes(size)
        with open(path, "wb") as f:
            f.write(self.data)

    def head(self, n):
        """A prog that writes the first n bytes and exits."""
        return ["head", "-c", str(n), self.path]

    def sha(self, n):
        return hashlib.sha256(memoryview(self.data)[:n]).hexdigest()


class Fifo:
    """Lines between the test and a prog that opens `path`: put() for it to read, or get() what it wrote."""

    def __init__(self, path):
        self.path = str(path)
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.rest = b""

    def put(self, line="go"):
        os.write(self.fd, line.encode() + b"\n")

    def release(self):
        """Lets go whoever waits for a line, and waits until it has taken it: nobody may be left behind."""
        self.put()
        wait_for(lambda: not select.select([self.fd], [], [], 0)[0], "the line to be taken")

    def get(self):
        """The next line that prog wrote."""
        while b"\n" not in self.rest:
            assert select.select([self.fd], [], [], LIMIT)[0], f"prog wrote no line to {self.path}"
            self.rest += os.read(self.fd, 4096)
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    def __del__(self):
        os.close(self.fd)


def cpu_ms(*pids):
    """The milliseconds of CPU that the processes have used; those that are gone used none."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            try:
                with open(f"/proc/{pid}/schedstat") as f:
                    total += int(f.read().split()[0]) / 1e6
            except FileNotFoundError:
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                total += (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
    return total


def wait_quiet(*pids):
    """Until the processes have used no CPU for a moment; fails when they never stop."""
    def quiet():
        before = cpu_ms(*pids)
        time.sleep(0.05)
        return cpu_ms(*pids) - before < 0.5
    wait_for(quiet, "the processes to come to rest", LIMIT / 3)


def anonymous_kb(pid):
    """The private memory of a process, in kB."""
    return int(status_of(pid, "RssAnon").split()[0])


# What a connection may take for its buffers, and the mark of a test that measures it.
BUFFERS_KB = 1024
measures_memory = pytest.mark.skipif(SANITIZED,
                                     reason="the sanitizer's own memory would be measured")


def fatal_line(tlsd):
    """The one line that the program wrote, a fatal one about this connection: it names pid and peer."""
    message = one_line(tlsd.stderr())
    assert str(tlsd.pid) in message and tlsd.peername.rsplit(":", 1)[0] in message, message
    return message


def leave(tlsd, client, code=0):
    """The peer closes; the program must end with `code` and without a word."""
    client.close()
    assert (tlsd.wait(), tlsd.stderr()) == (code, "")


def offer(sock, data):
    """Sends until the peer has taken nothing for a moment; returns how much it took."""
    sent, view = 0, memoryview(data)
    sock.setblocking(False)
    while sent < len(view) and select.select([], [sock], [], 0.3)[1]:
        sent += sock.send(view[sent:sent + (1 << 20)])
    sock.settimeout(LIMIT)
    return sent


def wire_end(sock):
    """Reads and drops what still comes: "fin" or "reset"."""
    try:
        while sock.recv(1 << 17):
            pass
    except ConnectionResetError:
        return "reset"
    return "fin"


# -- the client --------------------------------------------------------------

def client_context(pki, identity=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.cafile)
    context.check_hostname = False
    if identity:
        context.load_cert_chain(identity.certfile, identity.keyfile)
    return context


def server_context(identity):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certfile, identity.keyfile)
    return context


class Client:
    """A TLS client on a connected socket, with the wire in the test's hands; or a server, for a program that is none.

    `end` says how the peer's side ended: None (not yet), "close_notify", "fin", "reset" or
    "alert: REASON".
    """

    def __init__(self, sock, pki, version=None, identity=None, sni="localhost", ciphers=None, context=None):
        server = ROLE == "client"
        if context is None:
            context = server_context(identity or pki.server) if server else client_context(pki, identity)
            if version:
                context.minimum_version = context.maximum_version = TLS[version]
            if ciphers:
                context.set_ciphers(ciphers)
        self.sock = sock
        self.inbound, self.outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.inbound, self.outbound, server, None if server else sni)
        self.end = None

    def flush(self):
        """Sends what TLS has queued."""
        data = self.outbound.read()
        if data:
            self.sock.sendall(data)

    def fill(self):
        """Reads once from the wire into TLS; False when the wire has ended."""
        try:
            data = self.sock.recv(1 << 17)
        except ConnectionResetError:
            self.end = "reset"
            return False
        if not data:
            self.end = self.end or "fin"
            return False
        self.inbound.write(data)
        return True

    def greet(self):
        """Sends the ClientHello, and takes the server's first answer; or takes the one, and sends the other."""
        if ROLE == "client":
            assert self.fill()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.flush()
        if ROLE == "server":
            assert self.fill()

    def handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                return self
            except ssl.SSLWantReadError:
                self.flush()
                if not self.fill():
                    raise ConnectionError(f"handshake ended by {self.end}")
            except ssl.SSLError:
                self.flush()
                raise

    def encrypt(self, data):
        """The records for data, not sent."""
        self.flush()
        view = memoryview(data)
        while len(view):
            view = view[self.tls.write(view[:16384]):]
        return self.outbound.read()

    def send(self, data):
        self.sock.sendall(self.encrypt(data))

    def read(self, n=1 << 16):
        """Some plaintext, or b"" when the peer's side has ended: then see .end."""
        while self.end is None:
            try:
                data = self.tls.read(n)
                if data:
                    return data
                self.end = "close_notify"
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()
            except ssl.SSLZeroReturnError:
                self.end = "close_notify"
            except ssl.SSLError as e:
                self.end = f"alert: {e.reason}"
        return b""

    def read_exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.read(n - len(data))
            assert more, f"peer ended by {self.end} after {len(data)} of {n} bytes"
            data += more
        return data

    def read_all(self):
        """Everything up to the end of the peer's side."""
        parts = []
        while True:
            data = self.read()
            if not data:
                return b"".join(parts)
            parts.append(data)

    def exchange(self, data, chunk=1 << 16):
        """Sends data and reads at the same time, until all is sent; returns what was read meanwhile."""
        got, out, view = [], b"", memoryview(data)
        self.sock.setblocking(False)
        try:
            while len(view) or out:
                if not out:
                    out, view = self.encrypt(view[:chunk]), view[chunk:]
                readable, writable, _ = select.select([self.sock] if self.end is None else [], [self.sock], [], LIMIT)
                assert readable or writable, "the peer neither takes nor sends"
                if readable and self.fill():
                    with contextlib.suppress(ssl.SSLWantReadError):
                        while True:
                            got.append(self.tls.read(1 << 16))
                if writable:
                    out = out[self.sock.send(out):]
        finally:
            self.sock.settimeout(LIMIT)
        return b"".join(got)

    def close_notify(self, send=True):
        """Queues close_notify; sends it, or returns the record with send=False."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        if not send:
            return self.outbound.read()
        self.flush()
        return b""

    def fin(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


@contextlib.contextmanager
def session(pki, prog, options=(), version=None, identity=None, sni="localhost", **kw):
    """A Tlsd and a Client whose handshake is done."""
    with Tlsd(pki, prog, options, **kw) as tlsd:
        yield tlsd, Client(tlsd.sock, pki, version, identity, sni).handshake()


def strict_context(pki, version):
    """A context whose peer, as OpenSSL's do unless told otherwise, takes a FIN without close_notify for an error."""
    context = server_context(pki.server) if ROLE == "client" else client_context(pki)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.minimum_version = context.maximum_version = TLS[version]
    return context


def answer_with_alert(client):
    """What such a client does with the FIN that it has read: it sends an alert, and closes."""
    client.inbound.write_eof()
    with pytest.raises(ssl.SSLError):
        client.tls.read(1)
    assert client.outbound.pending, "this client sends no alert"
    client.flush()
    client.close()


def python(code, *args):
    """A prog that runs the Python text `code` with os and sys imported."""
    return [PYTHON, "-c", "import os, sys\n" + code, *map(str, args)]


def keeper(path):
    """A prog that writes all it reads to the file `path`, its stdout open until it has done so."""
    return ["sh", "-c", 'cat > "$0"; exit $?', str(path)]


# What the client sees at the end of prog's output.
ENDS = {"-s": "fin", "-S": "close_notify"}


def late_alert(reason=""):
    """What Client.end is, or with no reason begins with, after a failure behind the handshake."""
    return f"alert: {reason}" if ABLE.late_alerts else "reset"


# The beginning of a prog that writes the file argv[1] until nobody has taken a byte for a moment, and counts: n.
FILL = """
import select
os.set_blocking(1, False)
room, n = select.poll(), 0
room.register(1, select.POLLOUT)
with open(sys.argv[1], "rb") as f:
    data = memoryview(f.read())
while True:
    try:
        n += os.write(1, data[n:n + 65536])
    except BlockingIOError:
        if not room.poll(300):
            break
"""


# -- refusals, leftovers, other clients --------------------------------------

def one_line(text, kind="fatal"):
    """The message without its prefix; `text` must be exactly one line of that kind."""
    prefix = f"{program_name()}: {kind}: "
    assert text.startswith(prefix) and text.endswith("\n") and text.count("\n") == 1, text
    assert text[:-1].isprintable() and text.isascii(), text
    return text[len(prefix):-1]


def refused_at_start(pki, options=(), prog=("sh", "-c", "echo prog ran >&2"), **kw):
    """Runs a Tlsd that must end before it reads the network: (exit code, the one message, without its prefix).

    What the client sent must still be unread, nothing answered, and prog never run.
    """
    client, server = tcp_pair()
    with client, server:
        client.sendall(b"unread")
        with Tlsd(pki, list(prog), options, stdin=server, stdout=server, **kw) as tlsd:
            code = tlsd.wait()
            message = one_line(tlsd.stderr())
        assert server.recv(64, socket.MSG_DONTWAIT) == b"unread"
        server.close()
        assert client.recv(64) == b""
    return code, message


def refusal(client):
    """Does a handshake that the server must refuse; says how it ended: "alert: NAME", "fin" or "reset"."""
    try:
        client.handshake()
    except ssl.SSLError as e:
        return f"alert: {e.reason}"
    except ConnectionError:
        return client.end or "reset"
    assert client.read() == b""
    return client.end


def too_old(oldest="TLSv1_1", newest="TLSv1_1"):
    """The context of a client that is willing to do anything, but of no version that we have."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion[oldest], ssl.TLSVersion[newest]
    return context


def ordinary():
    """For Tlsd's preexec: root becomes nobody, for whom a file's mode counts."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def filtered(code):
    """For Tlsd's preexec: the kernel answers system calls as this filter says, (code, true, false, k) each line."""
    filters = b"".join(struct.pack("HBBI", *line) for line in code)

    def preexec():
        libc = ctypes.CDLL(None, use_errno=True)
        text = ctypes.create_string_buffer(filters)
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(text)))
        if os.geteuid() != 0:
            libc.prctl(38, 1, 0, 0, 0)  # no_new_privs
        assert libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())
    return preexec


def needs_tls13(test):
    """Marks a test of TLS 1.3 alone. Without that version, a client that insists on it is refused instead."""
    if ABLE.tls13:
        return test

    def refused(pki):
        with Tlsd(pki, ["sh", "-c", "echo prog ran >&2"]) as tlsd:
            assert refusal(Client(tlsd.sock, pki, "1.3")) == "alert: SSLV3_ALERT_HANDSHAKE_FAILURE"
            tlsd.sock.close()
            assert tlsd.wait() == 98
            assert "no common version" in fatal_line(tlsd)
    return refused


def survivors(sid):
    """The living processes of session `sid`: run a Tlsd with preexec=os.setsid, then sid is its pid."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
            if int(fields[3]) == sid and fields[0] not in "ZX":
                found.append(int(name))
    return found


@contextlib.contextmanager
def connecting(command, **kw):
    """Starts a client program, {port} replaced in its words; yields (its Popen, the socket it is connected to)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        listener.settimeout(LIMIT)
        port = str(listener.getsockname()[1])
        proc = subprocess.Popen([word.replace("{port}", port) for word in command], **kw)
        try:
            server, _ = listener.accept()
            server.setblocking(True)
            with server:
                yield proc, server
        finally:
            if proc.poll() is None:
                proc.kill()
            proc.wait()
            for stream in filter(None, (proc.stdin, proc.stdout, proc.stderr)):
                stream.close()


def fields(line):
    """The key=value pairs of a log line, quotes taken off."""
    return {k: v[1:-1] if v.startswith('"') else v for k, v in re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)}


def der(tag, *parts):
    """One DER element: for what no library is willing to make."""
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes(4, "big").lstrip(b"\0")
    return bytes([tag, 0x80 | len(size)]) + size + body

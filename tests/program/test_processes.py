"""Processes, descriptors and signals: what prog inherits, and what is left behind."""

import contextlib
import ctypes
import itertools
import os
import pty
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import tty

import pytest

import harness
from harness import (Client, Fifo, LIMIT, PROGRAM, TLSCLIENT, Tlsd, alive, answer_with_alert, children, connecting,
                     minimal_environment, one_line, python, refused_at_start, session, status_of, strict_context,
                     survivors, tcp_pair, wait_for, wait_quiet)
from server import TLSSERVER, Server

FDS = """
for n in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        print(n, os.readlink("/proc/self/fd/" + n))
    except OSError:
        pass
"""


def descriptors(text):
    """What FDS printed: number to what it is."""
    return {int(n): what for n, what in (line.split(" ", 1) for line in text.decode().splitlines())}


def records(data):
    """The types of the TLS records that `data` is made of; fails when it holds anything else."""
    types = []
    while data:
        assert len(data) >= 5 and data[0] in (20, 21, 22, 23) and data[1] == 3, data[:200]
        size = 5 + int.from_bytes(data[3:5], "big")
        assert len(data) >= size, "a cut record"
        types.append(data[0])
        data = data[size:]
    return types


class Tapped(Client):
    """A client that keeps every byte that came over the wire."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.wire = bytearray()

    def fill(self):
        waiting = self.sock.recv(1 << 17, socket.MSG_PEEK) if self.end is None else b""
        more = super().fill()
        self.wire += waiting[:1 << 17] if more else b""
        return more


def raw_end(sock):
    """Reads to the end of the wire, without TLS: (what came, how it ended)."""
    data = b""
    try:
        while more := sock.recv(1 << 16):
            data += more
    except ConnectionResetError:
        return data, "reset"
    return data, "fin"


def cleanly_ended(client):
    """Reads to the end, which must be neither a close_notify nor an alert, and closes."""
    client.read_all()
    client.close()
    assert client.end in ("fin", "reset")


@contextlib.contextmanager
def in_session(pki, prog, options=(), version=None, **kw):
    """A Tlsd in a session of its own, a handshaken client, and a check that nothing is left of them."""
    with Tlsd(pki, prog, options, preexec=os.setsid, **kw) as tlsd:
        try:
            client = Client(tlsd.sock, pki, version).handshake()
            tlsd.prog()
            yield tlsd, client
            wait_for(lambda: not survivors(tlsd.pid), "the last process")
        finally:
            for pid in survivors(tlsd.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


# -- descriptors ----------------------------------------------------------------------

@pytest.mark.parametrize("options", [[], ["-y"], ["-v3"], ["-SK60000"]])
def test_prog_has_no_descriptor_of_ours(pki, version, options):
    """prog's descriptors are 0, 1, 2 and what was inherited."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup2(file.fileno(), 50)
        try:
            with session(pki, python(FDS), options, version, identity=pki.client, env={"CAFILE": pki.cafile},
                         pass_fds=[file.fileno(), kept]) as (tlsd, client):
                found = descriptors(client.read_all())
                client.fin()
                assert tlsd.wait() == 0
        finally:
            os.close(kept)
        assert sorted(found) == sorted([0, 1, 2, file.fileno(), kept])
    assert found[0].startswith("pipe:") and found[1].startswith("pipe:") and found[0] != found[1]


def test_monitor_keeps_no_copy_of_the_connection(pki):
    """Once prog runs, the engine alone holds the connection."""
    client_sock, server = tcp_pair()
    link = os.readlink(f"/proc/self/fd/{server.fileno()}")
    with client_sock, Tlsd(pki, ["cat"], stdin=server, stdout=server) as tlsd:
        server.close()
        client = Client(client_sock, pki).handshake()
        client.send(b"x")
        assert client.read_exactly(1) == b"x"

        def holders():
            return [pid for pid in (tlsd.pid, *children(tlsd.pid)) if link in links(pid)]

        assert holders() == [tlsd.engine()]
        client.fin()
        assert tlsd.wait() == 0


def links(pid):
    """What the descriptors of a process are."""
    found = []
    for n in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{n}"))
    return found


def test_inherited_copy_of_the_connection_never_reaches_prog(pki):
    """A descriptor that is the connection is closed in prog, 2 becomes /dev/null; others are untouched."""
    client_sock, server = tcp_pair()
    with client_sock, tempfile.TemporaryFile() as file:
        copy = os.dup(server.fileno())
        with Tlsd(pki, python(FDS), stdin=server, stdout=server, stderr=server.fileno(),
                  pass_fds=[copy, file.fileno()]) as tlsd:
            server.close()
            os.close(copy)
            client = Client(client_sock, pki).handshake()
            found = descriptors(client.read_all())
            client.fin()
            assert tlsd.wait() == 0
        assert sorted(found) == [0, 1, 2, file.fileno()]
        assert found[2] == "/dev/null"


@pytest.mark.parametrize("closed", [c for n in (1, 2, 3) for c in itertools.combinations((0, 1, 2), n)], ids=str)
def test_closed_at_start(pki, closed):
    """0 or 1 closed at start is 111, nothing read and prog not run; a closed 2 is opened on /dev/null."""
    def close():
        for fd in closed:
            os.close(fd)

    if closed == (2,):
        with session(pki, python(FDS), preexec=close) as (tlsd, client):
            found = descriptors(client.read_all())
            client.fin()
            assert tlsd.wait() == 0
            assert sorted(found) == [0, 1, 2] and found[2] == "/dev/null"
    elif 2 in closed:
        r, w = os.pipe()
        with open(r) as log, Tlsd(pki, ["sh", "-c", f"echo ran >&{w}"], [f"--log-fd={w}"], preexec=close,
                                  pass_fds=[w]) as tlsd:
            os.close(w)
            assert tlsd.wait() == 111
            one_line(log.read())
            assert tlsd.sock.recv(64) == b""
    else:
        code, _ = refused_at_start(pki, preexec=close)
        assert code == 111


STRACE = pytest.mark.skipif("S6_TLSD_SANITIZED" in os.environ, reason="the leak checker does not work under strace")

# What makes a descriptor, and how each call says that exec closes it; dup2(2) is how prog gets its own.
MAKERS = {
    "open": "O_CLOEXEC", "openat": "O_CLOEXEC", "openat2": "O_CLOEXEC", "creat": None, "socket": "SOCK_CLOEXEC",
    "socketpair": "SOCK_CLOEXEC", "accept": None, "accept4": "SOCK_CLOEXEC", "pipe": None, "pipe2": "O_CLOEXEC",
    "dup": None, "dup3": "O_CLOEXEC", "recvmsg": "MSG_CMSG_CLOEXEC", "epoll_create": None,
    "epoll_create1": "EPOLL_CLOEXEC", "eventfd2": "EFD_CLOEXEC", "signalfd4": "SFD_CLOEXEC",
    "timerfd_create": "TFD_CLOEXEC", "memfd_create": "MFD_CLOEXEC", "inotify_init1": "IN_CLOEXEC",
    "landlock_create_ruleset": "", "pidfd_open": "", "userfaultfd": "O_CLOEXEC",
}


def traced(path):
    """The calls in a trace by `strace -f`, each with its pid; one that was interrupted by another's is in two lines."""
    begun = {}
    for line in path.read_text().splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", call)
        yield pid, begun.pop(pid, "") + resumed[1] if resumed else call


@STRACE
@pytest.mark.parametrize("who", ["s6-tlsd", "s6-tlsclient", "s6-tlsserver"])
def test_exec_closes_every_descriptor_from_its_birth(pki, tmp_path, who):
    """No call of ours makes a descriptor that prog could get, not even for a moment."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-o", str(trace), "-e",
               "trace=execve,fcntl," + ",".join("?" + name for name in MAKERS)]
    options = ["-y", "--verbosity=3", "-K60000"]
    env = {"CAFILE": pki.cafile}
    if who == "s6-tlsd":
        with Tlsd(pki, ["/bin/true"], options, env=env, program=[*command, PROGRAM]) as tlsd:
            client = Client(tlsd.sock, pki, identity=pki.client).handshake()
            assert client.read_all() == b""
            client.close()
            assert tlsd.wait() == 0
    elif who == "s6-tlsclient":
        words = [TLSCLIENT, *options, "-H", "-k", "localhost", "127.0.0.1", "{port}", "/bin/true"]
        env = minimal_environment(env, KEYFILE=pki.client.keyfile, CERTFILE=pki.client.certfile)
        with connecting([*command, *words], env=env, stderr=subprocess.DEVNULL) as (proc, sock):
            harness.ROLE = "client"
            client = Client(sock, pki).handshake()
            assert client.read_all() == b""
            client.close()
            assert proc.wait(LIMIT) == 0
    else:
        with Server(pki, ["/bin/true"], options, env=env, program=[*command, TLSSERVER]) as server:
            for _ in range(3):
                assert server.ask(identity=pki.client) == b""
            os.kill(int(server.event("start")["pid"]), signal.SIGTERM)
            assert server.wait() == 0
    bare, made, progs = [], 0, set()
    for pid, call in traced(trace):
        name, _, rest = call.partition("(")
        if name == "execve" and '"/bin/true"' in rest:
            progs.add(pid)
        elif pid in progs or " = -1 " in rest or rest.endswith(" = ?"):
            continue  # prog's own; or it failed, or its process was killed in it: nothing was made
        elif name in MAKERS:
            made += 1
            if MAKERS[name] is None or MAKERS[name] not in rest:
                bare.append(call)
        elif name == "fcntl" and "F_DUPFD," in rest:
            bare.append(call)
    assert made >= 5 and progs, trace.read_text()
    assert bare == []


@STRACE
def test_loop_that_turns_for_nothing_is_ended(pki):
    """A kernel that calls descriptors ready which are not makes the engine of a debug build abort, and not spin."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=poll", "-e", "inject=poll:retval=1", PROGRAM]
    with Tlsd(pki, ["cat"], ["--sandbox=off", "-v0"], program=strace) as tlsd:
        assert tlsd.wait() == 98
        assert "engine died (signal 6)" in one_line(tlsd.stderr())


# -- stderr is the connection ---------------------------------------------------------

NOISE = ["sh", "-c", "echo noise >&2; readlink /proc/self/fd/2"]


@pytest.mark.parametrize("options", [[], ["-v3"], ["-Sv2"]])
def test_nothing_in_clear_when_stderr_is_the_connection(pki, version, options):
    """Neither our messages nor prog's go to a stderr that is the connection."""
    with Tlsd(pki, NOISE, options, stderr="socket") as tlsd:
        client = Tapped(tlsd.sock, pki, version).handshake()
        assert client.read_all() == b"/dev/null\n"
        client.fin()
        assert tlsd.wait() == 0
    assert 23 in records(client.wire)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-x\r\n", b"", b"\x16\x03\x01\x00\x04\x01"])
def test_failed_handshake_with_stderr_on_the_connection(pki, data):
    """When the handshake fails the peer gets an alert at most."""
    with Tlsd(pki, NOISE, ["-v3"], stderr="socket") as tlsd:
        tlsd.sock.sendall(data)
        tlsd.sock.shutdown(socket.SHUT_WR)
        wire = b""
        while more := tlsd.sock.recv(4096):
            wire += more
        assert tlsd.wait() == 98
    assert set(records(wire)) <= {21}


@pytest.mark.parametrize("options, env, prog, code", [
    (["--nonsense"], {}, ["true"], 100), ([], {"KEYFILE": None}, ["true"], 100), ([], {}, [], 100),
    ([], {"KEYFILE": "/nonexistent"}, ["true"], 111), ([], {"KEYFILE": "/dev/null"}, ["true"], 96),
])
def test_error_at_start_with_stderr_on_the_connection(pki, options, env, prog, code):
    """An error before the first byte is not told to the peer in clear."""
    with Tlsd(pki, prog, options, env=env, stderr="socket") as tlsd:
        assert tlsd.wait() == code
        assert tlsd.sock.recv(64) == b""


# The reading end of a pipe takes no message anyhow.
@pytest.mark.parametrize("which, pipe", [("stdin", False), ("stdout", False), ("stdout", True)])
def test_stderr_on_either_half_of_the_connection(pki, which, pipe):
    """With stdin and stdout two things, stderr may be either one, socket or pipe."""
    ours, theirs = {}, {}
    for name in "stdin", "stdout":
        if pipe:
            r, w = os.pipe()
            ours[name], theirs[name] = (w, r) if name == "stdin" else (r, w)
        else:
            ours[name], theirs[name] = (end.detach() for end in socket.socketpair())
    try:
        with Tlsd(pki, ["true"], ["--nonsense"], stdin=theirs["stdin"], stdout=theirs["stdout"],
                  stderr=theirs[which]) as tlsd:
            assert tlsd.wait() == 100
            for fd in theirs.values():
                os.close(fd)
            theirs.clear()
            assert os.read(ours[which], 64) == b""
    finally:
        for fd in [*ours.values(), *theirs.values()]:
            os.close(fd)


def test_terminal_is_no_connection(pki):
    """On a terminal the usage is shown, though 0, 1 and 2 are one thing."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        with Tlsd(pki, [], stdin=slave, stdout=slave, stderr=slave) as tlsd:
            assert tlsd.wait() == 100
        assert "usage: s6-tlsd" in one_line(os.read(master, 4096).decode())
    finally:
        os.close(master)
        os.close(slave)


def test_log_fd_with_stderr_on_the_connection(pki):
    """--log-fd takes what a stderr on the connection must not get."""
    r, w = os.pipe()
    with open(r) as log, Tlsd(pki, ["true"], ["-v2", f"--log-fd={w}"], stderr="socket", pass_fds=[w]) as tlsd:
        os.close(w)
        tlsd.sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        tlsd.sock.shutdown(socket.SHUT_WR)
        assert tlsd.wait() == 98
        assert "handshake" in log.read()


SYSLOG = """
mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 &&
ln -s /proc/self/fd /dev/fd && exec "$@"
"""
LISTEN = """
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/dev/log")
if os.fork() == 0:
    s.close()
    os.dup2(0, 2)
    if sys.argv[1] in ("0", "1"):
        os.close(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
code = os.waitstatus_to_exitcode(os.wait()[1])
s.setblocking(False)
try:
    while True:
        os.write(2, repr(s.recv(4096).strip().decode("latin-1"))[1:-1].encode() + b"\\n")
except BlockingIOError:
    pass
sys.exit(code)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have a /dev/log of its own")
@pytest.mark.parametrize("closed, code, told", [
    ("none", 98, r"fatal: pid=\d+ peer=\S+ handshake failed: .*"),
    ("0", 111, "fatal: fd 0, .* is closed"), ("1", 111, "fatal: fd 1, .* is closed"),
])
def test_syslog_with_stderr_on_the_connection(pki, closed, code, told):
    """Without --log-fd the message, and nothing else, goes to syslog, also where 0 or 1 is closed at start."""
    inside = ["unshare", "-m", "sh", "-c", SYSLOG, "sh", *python(LISTEN, closed, PROGRAM)]
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/dev"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not to be had here")
    # The timeout is for a program that listens to something else.
    with Tlsd(pki, ["true"], ["--handshake-timeout=5000"], program=inside) as tlsd:
        tlsd.sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        tlsd.sock.shutdown(socket.SHUT_WR)
        assert tlsd.wait() == code
        assert re.fullmatch(rf"<\d+>.* s6-tlsd\[\d+\]: {told}\n", tlsd.stderr()), tlsd.stderr()


# -- signals at start ---------------------------------------------------------------------

def set_signals(ignored=(), blocked=()):
    def preexec():
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    return preexec


def mask(numbers):
    return sum(1 << (n - 1) for n in numbers)


@pytest.mark.parametrize("ignored, blocked", [
    ([], []), ([signal.SIGCHLD], []), ([signal.SIGPIPE], []), ([], [signal.SIGALRM]), ([], [signal.SIGCHLD]),
    ([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT], []),
    ([signal.SIGCHLD, signal.SIGPIPE], [signal.SIGALRM, signal.SIGUSR1, signal.SIGPIPE, signal.SIGTERM]),
], ids=str)
def test_signals_of_prog(pki, ignored, blocked):
    """prog has default dispositions and the mask found at start, whatever that was; and its code comes back."""
    # Not by way of a shell: some change their own mask.
    with session(pki, ["grep", "^Sig[IB]", "/proc/self/status", "/nonexistent"],
                 preexec=set_signals(ignored, blocked)) as (tlsd, client):
        lines = [line.split(":") for line in client.read_all().decode().splitlines()]
        client.fin()
        assert tlsd.wait() == 2
        assert tlsd.stderr().startswith("grep: ") and tlsd.stderr().count("\n") == 1
    found = {name: int(value, 16) for _, name, value in lines}
    # 32 and 33 are the C library's own.
    assert (found["SigIgn"] & ~mask([32, 33]), found["SigBlk"]) == (0, mask(blocked))


HOSTILE = set_signals([signal.SIGCHLD, signal.SIGPIPE], [signal.SIGALRM, signal.SIGCHLD])


def test_timeout_with_signals_blocked(pki):
    """A timeout works with SIGALRM blocked and SIGCHLD ignored at start."""
    with Tlsd(pki, ["cat"], ["-K50"], preexec=HOSTILE) as tlsd:
        raw_end(tlsd.sock)
        tlsd.sock.close()
        assert tlsd.wait() == 98
        one_line(tlsd.stderr())


def test_prog_that_reads_nothing_with_sigpipe_ignored(pki):
    """Writing to a prog that closed its stdin harms nobody, whatever SIGPIPE was at start."""
    for preexec in HOSTILE, None:
        with tempfile.TemporaryDirectory() as folder:
            go = Fifo(os.path.join(folder, "go"))
            prog = ["sh", "-c", 'exec <&-; echo closed; read x <"$0"; echo bye', go.path]
            with session(pki, prog, preexec=preexec) as (tlsd, client):
                assert client.read_exactly(7) == b"closed\n"
                client.send(b"x" * 100000)
                client.send(b"y" * 100000)
                go.put()
                assert client.read_all() == b"bye\n"
                client.fin()
                assert tlsd.wait() == 0


# -- prog and the handshake --------------------------------------------------------------

@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x80\x2e\x01\0\2"])
def test_prog_never_runs_without_a_handshake(pki, tmp_path, data):
    """When the handshake fails prog has not run."""
    with Tlsd(pki, ["touch", str(tmp_path / "ran")]) as tlsd:
        tlsd.sock.sendall(data)
        tlsd.sock.close()
        assert tlsd.wait() == 98
        one_line(tlsd.stderr())
    assert not (tmp_path / "ran").exists()


def test_prog_never_runs_when_the_client_refuses(pki, version, tmp_path):
    """When the client refuses our certificate prog has not run."""
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.maximum_version = version_of(version)
    with Tlsd(pki, ["touch", str(tmp_path / "ran")]) as tlsd:
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(tlsd.sock, pki, context=stranger).handshake()
        tlsd.sock.close()
        assert tlsd.wait() == 98
        one_line(tlsd.stderr())
    assert not (tmp_path / "ran").exists()


def version_of(version):
    return {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]


@pytest.mark.parametrize("what", ["missing", "missing path", "not executable", "folder", "no interpreter"])
def test_prog_that_cannot_be_run(pki, version, tmp_path, what):
    """prog that cannot be run is 111, and the client, whose request is still there, sees a clean end."""
    path = tmp_path / "prog"
    prog = "s6-tlsd-no-such-program" if what == "missing" else str(path)
    if what == "folder":
        path.mkdir()
    elif what == "not executable":
        path.write_text("#!/bin/sh\n")
    elif what == "no interpreter":
        path.write_text("#!/nonexistent\n")
        path.chmod(0o755)
    with session(pki, [prog], version=version) as (tlsd, client):
        client.send(b"request")
        assert client.read_all() == b""
        assert client.end == "fin"
        client.fin()
        assert tlsd.wait() == 111
        assert prog in one_line(tlsd.stderr())


# -- exit codes -----------------------------------------------------------------------------

@pytest.mark.parametrize("code, expected", [(n, n) for n in (0, 1, 7, 96, 97, 98, 100, 111, 127)] +
                         [(n, 128) for n in (128, 129, 137, 200, 255)])
def test_exit_code_of_prog(pki, code, expected):
    """prog's exit code is ours, but 128 and more are 128."""
    with session(pki, ["sh", "-c", f"exit {code}"]) as (tlsd, client):
        client.read_all()
        client.fin()
        assert tlsd.wait() == expected
        assert tlsd.stderr() == ""


@pytest.mark.parametrize("name", ["HUP", "INT", "TERM", "KILL", "PIPE", "SEGV", "ABRT", "USR1"])
def test_prog_killed_by_a_signal(pki, name):
    """prog killed by signal n is 128+n."""
    with session(pki, ["sh", "-c", f"ulimit -c 0; kill -{name} $$"]) as (tlsd, client):
        client.read_all()
        client.fin()
        assert tlsd.wait() == 128 + getattr(signal, f"SIG{name}")


# -- signals to the living --------------------------------------------------------------------

ENDING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_signal_during_the_handshake(pki, number, sent):
    """A signal during the handshake ends it all: we die of it, and prog never runs."""
    with Tlsd(pki, ["sh", "-c", "echo ran >&2"], preexec=os.setsid) as tlsd:
        tlsd.sock.sendall(sent)
        tlsd.engine()
        os.kill(tlsd.pid, number)
        raw_end(tlsd.sock)
        tlsd.sock.close()
        assert tlsd.wait() == -number
        assert "ran" not in tlsd.stderr()
        wait_for(lambda: not survivors(tlsd.pid), "the engine's end")


@pytest.mark.parametrize("number", ENDING)
def test_signal_to_the_monitor(pki, version, number):
    """The connection ends without close_notify, prog ends, and we die of the signal."""
    with Tlsd(pki, ["cat"], ["-S"], preexec=os.setsid) as tlsd:
        client = Client(tlsd.sock, pki, version).handshake()
        tlsd.prog()
        os.kill(tlsd.pid, number)
        cleanly_ended(client)
        assert tlsd.wait() == -number
        wait_for(lambda: not survivors(tlsd.pid), "prog's end")


def ignore_hangup():
    """For Tlsd's preexec: as nohup starts a program."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_signal_that_was_ignored_at_the_start(pki, version):
    """It stays ignored, as nohup wants it; others are heeded."""
    with session(pki, ["cat"], version=version, preexec=ignore_hangup) as (tlsd, client):
        os.kill(tlsd.pid, signal.SIGHUP)
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        os.kill(tlsd.pid, signal.SIGTERM)
        assert tlsd.wait() == -signal.SIGTERM


def test_signal_ends_the_network_at_once(pki, version):
    """After a signal the peer sees the end at once, however long it might be waited for: no reply is left to save."""
    with in_session(pki, ["cat"], ["--linger=600000"], version) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        os.kill(tlsd.pid, signal.SIGTERM)
        assert client.read_all() == b""
        client.close()
        assert tlsd.wait() == -signal.SIGTERM


@pytest.mark.parametrize("number", ENDING)
def test_signal_reaches_prog(pki, tmp_path, number):
    """prog gets the signal too, and we wait for it to exit."""
    said = Fifo(tmp_path / "said")
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name} >\"$0\"; exit 3' {name}; echo up; while :; do sleep 0.01; done"
    prog = ["sh", "-c", script, said.path]
    with in_session(pki, prog) as (tlsd, client):
        assert client.read_exactly(3) == b"up\n"
        os.kill(tlsd.pid, number)
        assert said.get() == f"got {name}"
        cleanly_ended(client)
        assert tlsd.wait() == -number


def test_signal_and_the_plaintext_before(pki, tmp_path):
    """prog, which ignores the signal, reads EOF after all that was sent to it; then we die of the signal."""
    said = Fifo(tmp_path / "said")
    prog = ["sh", "-c", "trap '' TERM; echo up; (cat; echo .) >\"$0\"", said.path]
    with in_session(pki, prog) as (tlsd, client):
        assert client.read_exactly(3) == b"up\n"
        client.send(b"before\n")
        assert said.get() == "before"
        os.kill(tlsd.pid, signal.SIGTERM)
        cleanly_ended(client)
        assert said.get() == "."
        assert tlsd.wait() == -signal.SIGTERM


def test_second_signal_does_not_wait_for_prog(pki):
    """A prog that does not end keeps us until a second signal."""
    with Tlsd(pki, ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"], preexec=os.setsid) as tlsd:
        client = Client(tlsd.sock, pki).handshake()
        assert client.read_exactly(3) == b"up\n"
        prog, engine = tlsd.prog(), tlsd.engine()
        try:
            os.kill(tlsd.pid, signal.SIGTERM)
            cleanly_ended(client)
            with pytest.raises(subprocess.TimeoutExpired):
                tlsd.wait(0.2)
            os.kill(tlsd.pid, signal.SIGTERM)
            assert tlsd.wait() == -signal.SIGTERM
            wait_for(lambda: not alive(engine), "the engine's end")
            assert alive(prog)
        finally:
            for pid in survivors(tlsd.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_to_prog(pki, number):
    """A signal to prog alone is an ordinary end: its output arrives, and the code says it."""
    with in_session(pki, ["sh", "-c", "echo last words; exec sleep 1000"], ["-S"]) as (tlsd, client):
        assert client.read_exactly(11) == b"last words\n"
        wait_for(lambda: status_of(tlsd.prog(), "Name") == "sleep", "exec")
        os.kill(tlsd.prog(), number)
        assert client.read_all() == b""
        assert client.end == "close_notify"
        client.fin()
        assert tlsd.wait() == 128 + number


def test_signal_to_the_group(pki):
    """A signal to the whole group ends the whole group, and we die of it."""
    with in_session(pki, ["sleep", "1000"]) as (tlsd, client):
        os.killpg(tlsd.pid, signal.SIGTERM)
        cleanly_ended(client)
        assert tlsd.wait() == -signal.SIGTERM


def test_stopped_monitor_does_not_stop_the_data(pki):
    """The relay goes on without the monitor, and the end is right after SIGCONT."""
    with in_session(pki, ["cat"]) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        os.kill(tlsd.pid, signal.SIGSTOP)
        wait_for(lambda: status_of(tlsd.pid, "State")[0] == "T", "the stop")
        client.send(b"x" * 1000)
        assert client.read_exactly(1000) == b"x" * 1000
        client.fin()
        os.kill(tlsd.pid, signal.SIGCONT)
        assert client.read_all() == b""
        assert client.end == "fin"
        assert tlsd.wait() == 0


def test_stopped_engine_goes_on(pki):
    """What was under way when the engine was stopped arrives after SIGCONT."""
    with in_session(pki, ["cat"]) as (tlsd, client):
        os.kill(tlsd.engine(), signal.SIGSTOP)
        wait_for(lambda: status_of(tlsd.engine(), "State")[0] == "T", "the stop")
        client.send(b"x" * 60000)
        client.fin()
        os.kill(tlsd.engine(), signal.SIGCONT)
        assert client.read_all() == b"x" * 60000
        assert tlsd.wait() == 0


def test_signals_to_the_engine_alone(pki):
    """However many signals it gets the engine goes on, and takes them for no turn without work."""
    with in_session(pki, ["sh", "-c", "cat; exit 5"]) as (tlsd, client):
        engine = tlsd.engine()
        wait_quiet(engine)
        for _ in range(150):
            os.kill(engine, signal.SIGHUP)
            wait_for(lambda: not int(status_of(engine, "ShdPnd") or "0", 16), "the signal to be taken")
        client.send(b"x" * 60000)
        client.fin()
        assert client.read_all() == b"x" * 60000
        assert (tlsd.wait(), tlsd.stderr()) == (5, "")


def test_stopped_all(pki):
    """The whole group stopped and continued: the data arrives and the code is prog's."""
    with in_session(pki, ["sh", "-c", "cat; exit 5"]) as (tlsd, client):
        os.killpg(tlsd.pid, signal.SIGSTOP)
        client.send(b"x" * 60000)
        client.fin()
        os.killpg(tlsd.pid, signal.SIGCONT)
        assert client.read_all() == b"x" * 60000
        assert tlsd.wait() == 5


def test_alert_after_progs_end(pki, version):
    """OpenSSL answers a bare FIN with an alert: when prog has exited before that, the code is prog's."""
    with Tlsd(pki, ["sh", "-c", "echo up; read x; echo last words; exit 3"]) as tlsd:
        client = Client(tlsd.sock, pki, context=strict_context(pki, version)).handshake()
        assert client.read_exactly(3) == b"up\n"
        prog = tlsd.prog()
        os.kill(tlsd.pid, signal.SIGSTOP)
        wait_for(lambda: status_of(tlsd.pid, "State")[0] == "T", "the stop")
        client.send(b"\n")
        assert client.read_all() == b"last words\n" and client.end == "fin"
        wait_for(lambda: not alive(prog), "prog's end")
        answer_with_alert(client)
        wait_quiet(tlsd.engine())
        os.kill(tlsd.pid, signal.SIGCONT)
        assert tlsd.wait() == 3
        assert tlsd.stderr() == ""


# -- death of one of ours -----------------------------------------------------------------------

STAGES = ["silent", "half a hello", "running", "data both ways"]


def brought_to(stage, tlsd, pki):
    """Brings a connection to a stage; returns its client."""
    client = Client(tlsd.sock, pki)
    if stage == "half a hello":
        with contextlib.suppress(ssl.SSLWantReadError):
            client.tls.do_handshake()
        tlsd.sock.sendall(client.outbound.read()[:100])
    elif stage != "silent":
        client.handshake()
        tlsd.prog()
    if stage == "data both ways":
        client.send(b"x" * 100000)
        client.read_exactly(10)
    return client


@contextlib.contextmanager
def heir():
    """Whoever loses its parent meanwhile becomes our child, by prctl(2)."""
    subreaper, libc = 36, ctypes.CDLL(None)
    assert libc.prctl(subreaper, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(subreaper, 0, 0, 0, 0) == 0


@pytest.mark.parametrize("stage", STAGES)
def test_monitor_killed(pki, version, stage):
    """SIGKILL of the monitor ends engine and prog, without alert or close_notify; the engine leaves by itself."""
    with heir(), Tlsd(pki, ["sh", "-c", "echo ran >&2; cat"], ["-S"], preexec=os.setsid) as tlsd:
        client = brought_to(stage, tlsd, pki)
        engine = tlsd.engine()
        orphans = children(tlsd.pid)
        os.kill(tlsd.pid, signal.SIGKILL)
        if stage in ("silent", "half a hello"):
            assert raw_end(tlsd.sock)[0] == b""
            client.close()
            assert tlsd.stderr() == ""
        else:
            cleanly_ended(client)
        assert tlsd.wait() == -signal.SIGKILL
        wait_for(lambda: not survivors(tlsd.pid), "the end of engine and prog")
        codes = {pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in orphans}
        assert codes[engine] == 0


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_engine_killed(pki, stage, number):
    """An engine that dies is 98 and told so; prog reads EOF, or never ran."""
    with Tlsd(pki, ["sh", "-c", "cat >/dev/null; echo eof >&2; exit 5"], ["-S"], preexec=os.setsid) as tlsd:
        client = brought_to(stage if stage != "data both ways" else "running", tlsd, pki)
        if stage == "data both ways":
            client.send(b"x" * 100000)
        os.kill(tlsd.engine(), number)
        if stage in ("silent", "half a hello"):
            assert raw_end(tlsd.sock)[0] == b""
            client.close()
        else:
            cleanly_ended(client)
        assert tlsd.wait() == 98
        ours = [line for line in tlsd.stderr().splitlines(True) if line != "eof\n"]
        assert f"engine died (signal {int(number)})" in one_line("".join(ours))
        assert ("eof\n" in tlsd.stderr()) == (stage not in ("silent", "half a hello"))
        wait_for(lambda: not survivors(tlsd.pid), "prog's end")


def test_engine_killed_before_its_report_is_read(pki, version, tmp_path):
    """prog never runs behind an engine that died, even where it had told of the handshake; 98."""
    with Tlsd(pki, ["touch", str(tmp_path / "ran")], preexec=os.setsid) as tlsd:
        engine = tlsd.engine()
        client = Client(tlsd.sock, pki, version)
        client.greet()  # it took the monitor's signature
        os.kill(tlsd.pid, signal.SIGSTOP)
        wait_for(lambda: status_of(tlsd.pid, "State")[0] == "T", "the stop")
        client.handshake()
        wait_quiet(engine)
        os.kill(engine, signal.SIGKILL)
        wait_for(lambda: not alive(engine), "the engine's end")
        os.kill(tlsd.pid, signal.SIGCONT)
        assert tlsd.wait() == 98
        assert "engine died (signal 9)" in one_line(tlsd.stderr())
        assert not survivors(tlsd.pid)
    assert not (tmp_path / "ran").exists()


# -- inherited children ----------------------------------------------------------------------------

def test_inherited_children_are_reaped_and_ignored(pki, tmp_path):
    """Children that we were started with are reaped when they die, and are taken for none of ours."""
    go = Fifo(tmp_path / "go")
    start = ["sh", "-c", '(exit 9) & (read x <"$0"; exit 4) & sleep 1000 & exec "$@"', go.path, PROGRAM]
    with Tlsd(pki, ["sh", "-c", "echo up; cat; exit 5"], program=start, preexec=os.setsid) as tlsd:
        try:
            client = Client(tlsd.sock, pki).handshake()
            assert client.read_exactly(3) == b"up\n"
            wait_for(lambda: len(children(tlsd.pid)) == 4, "the first child to be reaped")
            go.put()
            wait_for(lambda: len(children(tlsd.pid)) == 3, "the second child to be reaped")
            client.send(b"x")
            assert client.read_exactly(1) == b"x"
            client.fin()
            assert tlsd.wait() == 5
            assert tlsd.stderr() == ""
        finally:
            for pid in survivors(tlsd.pid):
                os.kill(pid, signal.SIGKILL)


def test_inherited_child_dies_in_the_handshake(pki, tmp_path):
    """The death of a foreign child during the handshake is not taken for the engine's."""
    go = Fifo(tmp_path / "go")
    start = ["sh", "-c", '(read x <"$0"; exit 98) & exec "$@"', go.path, PROGRAM]
    with Tlsd(pki, ["echo", "up"], program=start) as tlsd:
        wait_for(lambda: len(children(tlsd.pid)) == 2, "the engine")
        go.put()
        wait_for(lambda: len(children(tlsd.pid)) == 1, "the child to be reaped")
        client = Client(tlsd.sock, pki).handshake()
        assert client.read_all() == b"up\n"
        client.fin()
        assert tlsd.wait() == 0


# -- exhausted ---------------------------------------------------------------------------------------

# A sanitizer's own search for leaks would need what there is no more of.
NO_LEAK_CHECK = {"ASAN_OPTIONS": "detect_leaks=0"}


def outcome(pki, tlsd):
    """Connects: "served", or the exit code after a clean end."""
    try:
        client = Client(tlsd.sock, pki).handshake()
        text = client.read_all()
        assert client.end == "fin"
        client.fin()
    except (ConnectionError, ssl.SSLError):
        text = b""
    code = tlsd.wait()
    if code == 0:
        assert text == b"served\n"
        return "served"
    assert text == b""
    one_line(tlsd.stderr())
    return code


def test_no_more_descriptors(pki):
    """With too few descriptors it is 111 in one line, never a hang; with enough it works."""
    found = {}
    for limit in [*range(4, 24), 64]:
        with Tlsd(pki, ["echo", "served"], env=NO_LEAK_CHECK,
                  preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))) as tlsd:
            found[limit] = outcome(pki, tlsd)
    assert set(found.values()) == {111, "served"}, found
    assert found[4] == 111 and found[64] == "served"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become a user that has no other process")
def test_no_more_processes(pki):
    """Where no process can be had it is 111: for the engine before the handshake, for prog after it."""
    uid = 61000 + os.getpid() % 4000

    def limited(limit):
        def preexec():
            resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        return preexec

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program = shutil.copy2(PROGRAM, folder)
        env = NO_LEAK_CHECK | dict(zip(("KEYFILE", "CERTFILE"), pki.server.files(folder, "server")))
        os.chmod(env["KEYFILE"], 0o644)
        expected = {1: 111, 2: 111, 3: "served"}
        found = {}
        for limit in expected:
            with Tlsd(pki, ["echo", "served"], env=env, program=[program], preexec=limited(limit)) as tlsd:
                found[limit] = outcome(pki, tlsd)
        assert found == expected


@pytest.mark.skipif("S6_TLSD_SANITIZED" in os.environ, reason="a sanitizer needs address space without bounds")
def test_no_more_memory(pki):
    """With too little memory it is 111 in one line, or the loader's 127; never a crash or a hang."""
    found = {}
    for kilobytes in [*range(4 << 10, 12 << 10, 128), 1 << 19]:
        limit = kilobytes << 10
        with Tlsd(pki, ["echo", "served"], preexec=lambda: resource.setrlimit(resource.RLIMIT_AS,
                                                                            (limit, limit))) as tlsd:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                client = Client(tlsd.sock, pki).handshake()
                client.read_all()
                client.fin()
            tlsd.sock.close()
            found[kilobytes] = tlsd.wait()
            if found[kilobytes] == 111:
                one_line(tlsd.stderr())
    assert set(found.values()) == {0, 111, 127}, found
    assert found[1 << 19] == 0


# -- what a connection costs -----------------------------------------------------------------------

@STRACE
def test_two_forks_and_one_exec(pki, version, tmp_path):
    """Beyond its own start the program forks twice, for engine and prog, and one exec is prog's."""
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=clone,clone3,fork,vfork,execve", PROGRAM]
    with Tlsd(pki, ["/bin/cat"], program=strace) as tlsd:
        client = Client(tlsd.sock, pki, version).handshake()
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        client.fin()
        assert tlsd.wait() == 0
    calls = re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE)
    assert calls.count("execve") == 2, calls  # its own, and prog's
    assert len(calls) - calls.count("execve") == 2, calls

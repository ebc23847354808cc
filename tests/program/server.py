"""A running s6-tlsserver and its clients: serving(), and what is known of its processes, by what it tells of them.

Everything that it writes at --verbosity=3 is one event a line, so that a test can wait for what it is
about. What is a warning has to be taken by the test with warning(): any other fails it in the end.
"""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile

from harness import LIMIT, PROGRAM, Client, children, fields, minimal_environment, survivors, wait_for

TLSSERVER = os.path.join(os.path.dirname(PROGRAM), "s6-tlsserver")

# How many of what a test takes long to do many times: all of them where there is time for it.
LONG = "S6_TLSD_LONG" in os.environ
if LONG:
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)


def many(long, short):
    return long if LONG else short


class Server:
    """A running s6-tlsserver; it has a session of its own, in which all that it leaves behind would be.

    where: the words before prog. env: as for Tlsd. ready: it gets as far as saying its port.
    """

    def __init__(self, pki, prog, options=(), env=None, where=("127.0.0.1", "0"), program=(TLSSERVER,), ready=True,
                 verbosity=3, **kw):
        variables = minimal_environment(env, KEYFILE=pki.server.keyfile, CERTFILE=pki.server.certfile)
        self.pki = pki
        self.log = tempfile.TemporaryFile()
        self.seen, self.taken, self.host = 0, [], "127.0.0.1"
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stderr", self.log)
        command = [*program, "-1", f"--verbosity={verbosity}", *options, *where, *prog]
        self.proc = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, start_new_session=True, **kw)
        self.pid = self.proc.pid
        self.clients = []
        if ready:
            line = self.proc.stdout.readline()
            assert line.endswith(b"\n"), self.text()
            self.port = int(line)

    # -- what it tells

    def text(self):
        return os.pread(self.log.fileno(), 1 << 26, 0).decode()

    def lines(self, kind=None):
        """Its lines so far, of a kind, without their prefixes; not those that are about what security there is."""
        found = re.findall(r"^s6-tlsserver: (\w+): (.*)\n", self.text(), flags=re.M)
        found = [(k, text) for k, text in found if not (k == "info" and "event=" not in text and "status:" not in text)]
        return [text for k, text in found if kind in (None, k)]

    def events(self, name, **want):
        """The fields of each line about such an event."""
        found = [fields(line) for line in self.lines() if f"event={name} " in line + " "]
        return [f for f in found if want.items() <= f.items()]

    def event(self, name, **want):
        """Waits for the first event that is so."""
        return wait_for(lambda: self.events(name, **want), f"event={name} {want}")[0]

    def warning(self, pattern):
        """Waits for a warning like that, which no other call has taken; returns the match."""
        def found():
            warnings = self.lines("warning")
            for n, line in enumerate(warnings):
                match = re.search(pattern, line)
                if match and n not in self.taken:
                    self.taken.append(n)
                    return match
            return None
        return wait_for(found, f"the warning {pattern!r}")

    def pass_over(self, pattern):
        """Takes all warnings so far that are like that."""
        self.taken += [n for n, line in enumerate(self.lines("warning")) if re.search(pattern, line)]

    def warnings(self):
        """Those that the test has not taken."""
        return [line for n, line in enumerate(self.lines("warning")) if n not in self.taken]

    # -- its processes

    def engines(self):
        """All that live, with a connection or without."""
        gone = {f["engine"] for f in self.events("exit") if "engine" in f}
        return [int(f["engine"]) for f in self.events("fork") if f["engine"] not in gone]

    def spares(self):
        """Those that have no connection."""
        busy = {f["pid"] for f in self.events("accept")}
        return [pid for pid in self.engines() if str(pid) not in busy]

    def signers(self):
        """The children that are neither engine nor prog, where there is no look-up."""
        others = self.engines() + [int(f["prog"]) for f in self.events("start") if "prog" in f]
        return [pid for pid in children(self.pid) if pid not in others]

    def engine(self, client):
        """That of the client's connection."""
        return int(self.event("accept", peer=client.peername)["pid"])

    def prog(self, client):
        return int(next(f["prog"] for f in wait_for(lambda: self.events("start", peer=client.peername), "prog")))

    def live(self):
        """How many connections there are, by the last status line."""
        told = re.findall(r"^s6-tlsserver: info: status: (\d+)/", self.text(), flags=re.M)
        return int(told[-1]) if told else 0

    def at_rest(self):
        """Waits until there is no connection, and as many engines as are kept ready."""
        wait_for(lambda: self.live() == 0 and len(self.spares()) == len(self.engines()), "all connections to be over")

    # -- its clients

    def connect(self, source=None, host=None):
        sock = socket.create_connection((host or self.host, self.port), LIMIT, source and (source, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent behind a handshake goes out at once
        return sock

    def begin(self, version=None, source=None, host=None, **kw):
        """A client that has said nothing yet."""
        client = Client(self.connect(source, host), self.pki, version, **kw)
        client.peername = "{}:{}".format(*client.sock.getsockname())
        self.clients.append(client)
        return client

    def knock(self, source="127.0.0.1", host=None):
        """A connection that must be closed, or reset, before a byte is said; what it is called."""
        with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET) as sock:
            sock.settimeout(LIMIT)
            sock.bind((source, 0))
            name = "{}:{}".format(*sock.getsockname())
            with contextlib.suppress(ConnectionError):
                sock.connect((host or self.host, self.port))
                assert sock.recv(1) == b""
            return name

    def client(self, version=None, **kw):
        """A client whose handshake is done."""
        return self.begin(version, **kw).handshake()

    def ask(self, version=None, **kw):
        """A whole connection on which the client says nothing: prog's answer."""
        client = self.client(version, **kw)
        answer = client.read_all()
        client.close()
        return answer

    # -- its end

    def wait(self, limit=None):
        return self.proc.wait(limit or LIMIT)

    def stop(self):
        """SIGTERM, without connections: it ends with 0, and nothing of it is left; it has warned of nothing else."""
        self.proc.terminate()
        assert self.wait() == 0, self.text()
        wait_for(lambda: not survivors(self.pid), "the last process")
        assert self.warnings() == []

    def close(self):
        for client in self.clients:
            client.close()
        for pid in {self.pid, *survivors(self.pid)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.proc.wait()
        self.proc.stdout.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


@contextlib.contextmanager
def serving(pki, prog, options=(), **kw):
    """A Server that ends well in the end, once its connections are over: stop()."""
    with Server(pki, prog, options, **kw) as server:
        yield server
        server.stop()


def refused(pki, options=(), where=("127.0.0.1", "0"), prog=("true",), **kw):
    """A start that comes to nothing: (exit code, the one line it says, without its prefix)."""
    with Server(pki, prog, options, where=where, ready=False, verbosity=1, **kw) as server:
        code = server.wait()
        assert server.proc.stdout.read() == b"", "it said that it was ready"
        text = server.text()
        wait_for(lambda: not survivors(server.pid), "the last process")
    prefix = "s6-tlsserver: fatal: "
    assert text.startswith(prefix) and text.count("\n") == 1 and text[:-1].isprintable(), text
    return code, text[len(prefix):-1]


def echoed(client, data=b"x"):
    """Whether the other side is alive, and a cat."""
    client.send(data)
    return client.read_exactly(len(data)) == data


def leave(client):
    """The client of a cat goes."""
    client.fin()
    assert client.read_all() == b""
    client.close()

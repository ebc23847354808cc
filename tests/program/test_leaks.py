"""Nothing is left of many connections, whatever becomes of each: processes, descriptors, memory, work.

Two runs: connections through one s6-tlsserver, and starts of s6-tlsd. Each goes round through all
FATES. How many, S6_TLSD_LONG says; under valgrind, S6_TLSD_VALGRIND. A program that is built with a
sanitizer looks for leaks by itself when it ends, and so does valgrind.
"""

import collections
import contextlib
import os
import re
import socket
import ssl
import struct
import time

import pytest

from apart import Dns, apart, names  # noqa: F401 (a fixture)
from harness import (ABLE, SANITIZED, Client, Tlsd, anonymous_kb, children, client_context, cpu_ms, make_identity,
                     one_line, refusal, status_of, survivors, too_old, wait_for, wait_quiet, wire_end)
from memcheck import COUNT, UNSEALED, check, left_open, valgrind
from server import TLSSERVER, Server, echoed, many

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look into the programs")

# Does what the client's first line says, and then what cat does.
PROG = ["sh", "-c", r"""read -r word
case $word in
exit) exit 7 ;;
die) kill -9 $$ ;;
deaf) exec <&-; echo "$word"; exit 3 ;;
flood) head -c 1000000 /dev/zero ;;
esac
echo "$word"
exec cat"""]


# -- what becomes of a connection ----------------------------------------------------

class Clients:
    """What the fates have in common: contexts, made once, for a context leaks no less than others."""

    def __init__(self, pki):
        self.pki = pki
        self.plain, self.alice = client_context(pki), client_context(pki, pki.client)
        self.mallory = client_context(pki, pki.issue("stranger", "mallory", make_identity("Other CA", ca=True)))
        self.old = too_old()
        client = Client(None, pki, context=self.plain)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.tls.do_handshake()
        self.hello = client.outbound.read()

    def on(self, sock, context=None):
        return Client(sock, self.pki, context=context or self.plain)

    def up(self, sock, context=None, word=b"hello"):
        """A client that prog has answered, or that asked for something else."""
        client = self.on(sock, context).handshake()
        client.send(word + b"\n")
        if word == b"hello":
            assert client.read_exactly(6) == b"hello\n"
        return client


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def finished(clients, sock):
    client = clients.up(sock)
    client.fin()
    assert client.read_all() == b""


def notified(clients, sock):
    client = clients.up(sock)
    client.close_notify()
    client.read_all()


def certified(clients, sock):
    client = clients.up(sock, clients.alice)
    client.fin()
    assert client.read_all() == b""


def prog_exits(clients, sock):
    client = clients.up(sock, word=b"exit")
    assert client.read_all() == b""


def prog_dies(clients, sock):
    client = clients.up(sock, word=b"die")
    assert client.read_all() == b""


def prog_is_deaf(clients, sock):
    client = clients.up(sock, word=b"deaf")
    client.send(bytes(100_000))
    client.fin()
    client.read_all()


def flooded(clients, sock):
    client = clients.up(sock, word=b"flood")
    client.read_exactly(10_000)
    reset(sock)


def talks_and_resets(clients, sock):
    clients.up(sock).send(bytes(50_000))
    reset(sock)


def cut(clients, sock):
    client = clients.up(sock)
    sock.sendall(client.encrypt(bytes(3000))[:1500])
    client.fin()
    wire_end(sock)


def bad_record(clients, sock):
    client = clients.up(sock)
    sock.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
    client.read_all()


def silent(clients, sock):
    pass


def silent_and_resets(clients, sock):
    reset(sock)


def half_a_hello(clients, sock):
    sock.sendall(clients.hello[:len(clients.hello) // 2])


def a_hello(clients, sock):
    sock.sendall(clients.hello)


def hello_and_resets(clients, sock):
    sock.sendall(clients.hello)
    assert sock.recv(1)
    reset(sock)


def nonsense(clients, sock):
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    wire_end(sock)


def stranger(clients, sock):
    assert refusal(clients.on(sock, clients.mallory)).startswith("alert: ")


def old_version(clients, sock):
    assert refusal(clients.on(sock, clients.old)).startswith("alert: ")


# What the client does, and the exit code that comes of it.
FATES = {finished: 0, notified: 0, certified: 0, prog_exits: 7, prog_dies: 137, prog_is_deaf: 3, flooded: 98,
         talks_and_resets: 98, cut: 98, bad_record: 98, silent: 98, silent_and_resets: 98, half_a_hello: 98,
         a_hello: 98, hello_and_resets: 98, nonsense: 98, stranger: 98, old_version: 98}


# -- many connections -------------------------------------------------------------------

# A client's address, and what the rules and the names say of it: let in by address, or by name; denied in both ways.
ADDRESSES = ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.3", "127.0.0.4"]
DENIED = ["127.0.0.3", "127.0.0.4"]
HOSTS = "127.0.0.1 localhost\n127.0.0.2 friend.example\n127.0.0.3 foe.example\n"


def make_rules(path, env):
    for key, verdict in (("ip4/127.0.0.1_32", "allow"), ("ip4/127.0.0.4_32", "deny"),
                         ("reversedns/friend.example", "allow"), ("reversedns/foe.example", "deny")):
        rule = path / key
        rule.mkdir(parents=True)
        (rule / verdict).touch()
        if env:
            (rule / "env").mkdir()
            (rule / "env" / "RULE").write_text(key)
    return path


class Visits:
    """Clients of a Server, one after another but for those that stay while others come and go."""

    STAY = 5

    def __init__(self, server, pki):
        self.server, self.clients = server, Clients(pki)
        self.count, self.codes, self.staying = 0, collections.Counter(), []

    def come(self, n):
        for _ in range(n):
            # 5 and 18 have no common divisor: all pairs come.
            self.one(ADDRESSES[self.count % len(ADDRESSES)], list(FATES)[self.count % len(FATES)])
            self.count += 1

    def one(self, address, fate):
        denied = address in DENIED
        # Who is denied may see the end of it at any moment, that of the connect(2) among them.
        with contextlib.suppress(*([OSError, ssl.SSLError, AssertionError] if denied else [])):
            with self.server.connect(address) as sock:
                fate(self.clients, sock)
        if address != "127.0.0.4":
            self.codes["98" if denied else str(FATES[fate])] += 1
        if self.count % 10 == 0:
            self.staying.append(self.clients.up(self.server.connect()))
            self.codes["0"] += 1
        if len(self.staying) > self.STAY:
            self.leave()

    def leave(self):
        client = self.staying.pop(0)
        assert echoed(client)
        client.fin()
        assert client.read_all() == b""
        client.close()

    def over(self):
        """Those that stayed leave, and all is over that was begun."""
        while self.staying:
            self.leave()
        total = sum(self.codes.values())
        wait_for(lambda: len(re.findall("event=end ", self.server.text())) == total, "the end of all connections")
        wait_for(lambda: self.server.text().rpartition("status: ")[2].startswith("0/"), "no connection")


def settled(server):
    """Waits until it has the processes that it has without connections, spare engines and signers, and rests."""
    count = 2 + (min(4, len(os.sched_getaffinity(0))) if ABLE.signs_elsewhere else 0)
    wait_for(lambda: len(children(server.pid)) == count, "no more and no fewer processes than without connections")
    wait_quiet(server.pid)


def belongings(pid):
    """What a process has: its children, as many as there are; and what kinds of descriptors, how many of each."""
    fds = [os.readlink(f"/proc/{pid}/fd/{n}").split(":")[0] for n in os.listdir(f"/proc/{pid}/fd")]
    states = [(status_of(child, "State") or "gone")[0] for child in children(pid)]
    return len(states), "Z" in states, collections.Counter(fds)


def private_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_"))


@contextlib.contextmanager
def reports(tmp_path):
    """Where a sanitizer writes, if there is one; it must be nothing but what it says of a process that is killed."""
    folder = tmp_path / "reports"
    folder.mkdir()
    folder.chmod(0o1777)
    found = {name: os.environ.get(name, "") + f":log_path={folder}/r" for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS")}
    yield found if SANITIZED else {}
    for report in folder.iterdir():
        text = report.read_text()
        assert not re.search("ERROR: |runtime error: ", text), text


def served(pki, tmp_path, names, changes=True, **kw):
    """The Server; changes: rules say something of prog's environment."""
    names(HOSTS)
    tmp_path.chmod(0o755)
    rules = make_rules(tmp_path / "rules", changes)
    kw["env"] = {"CAFILE": pki.cafile, **kw.pop("env", {})}
    options = ["-Y", "-h", "-i", str(rules), "--linger=1000", *kw.pop("options", [])]
    return Server(pki, PROG, options, verbosity=2, **kw)


def checked(server, visits):
    """The end of each connection, as it was meant to be, and a word of each that failed."""
    found = collections.Counter(re.findall(r"event=end .* code=(\d+)$", server.text(), flags=re.M))
    assert found == visits.codes
    server.pass_over("^pid=")


@apart
def test_connections(pki, tmp_path, names):
    """2,000 through one s6-tlsserver: no process, zombie, descriptor or kB more than after the first, and no work."""
    few, some, all_of_them = (50, 200, 2000) if many(1, 0) else (36, 72, 180)
    with Dns(), reports(tmp_path) as env, served(pki, tmp_path, names, env=env) as server:
        visits = Visits(server, pki)

        def visited(n):
            visits.come(n - visits.count)
            visits.over()
            settled(server)
        visited(few)
        before = belongings(server.pid)
        assert not before[1]
        visited(some)
        memory = anonymous_kb(server.pid), private_kb(server.pid)
        visited(all_of_them)
        wait_for(lambda: belongings(server.pid) == before, "all to be as before")
        grown = anonymous_kb(server.pid) - memory[0], private_kb(server.pid) - memory[1]
        pids = [server.pid, *children(server.pid)]
        wait_quiet(*pids)
        used = cpu_ms(*pids)
        time.sleep(1)
        used = cpu_ms(*pids) - used
        print(f"{visits.count} connections: private memory grew by {grown[0]} kB (anonymous), {grown[1]} kB (USS); "
              f"{used:.1f} ms of CPU in a second of rest; {before[0]} children, {sum(before[2].values())} descriptors")
        assert used <= 10
        assert SANITIZED or max(grown) <= 64
        checked(server, visits)
        server.stop()


# -- many starts --------------------------------------------------------------------------

def started(pki, clients, fate, **kw):
    """One s6-tlsd and its client: the exit code is the fate's, and nothing is left. Returns the engine's pid."""
    env = {"CAFILE": pki.cafile, **kw.pop("env", {})}
    with Tlsd(pki, PROG, ["-Y", "--linger=1000", *kw.pop("options", [])], env=env, preexec=os.setsid, **kw) as tlsd:
        engine = tlsd.engine()
        with contextlib.suppress(ConnectionError):
            fate(clients, tlsd.sock)
        tlsd.sock.close()
        assert tlsd.wait() == FATES[fate], tlsd.stderr()
        if FATES[fate] == 98:
            one_line("\n".join(line for line in tlsd.stderr().splitlines() if ": warning: " not in line) + "\n")
        # A prog that outlives its connection, for a moment, is nobody's leak.
        wait_for(lambda: not survivors(tlsd.pid), "the last process")
        return tlsd.pid, engine


def test_starts(pki, tmp_path):
    """500 of s6-tlsd: each ends as it should, and leaves no process."""
    clients, fates = Clients(pki), list(FATES)
    with reports(tmp_path) as env:
        for n in range(many(500, len(fates))):
            started(pki, clients, fates[n % len(fates)], env=env)


# -- the same under valgrind ----------------------------------------------------------------

def check_all(folder, listener):
    """Whoever ended by itself has a summary; what was killed, as a spare engine is, has none. Returns how many had."""
    found = 0
    for log in folder.iterdir():
        text = log.read_text()
        if "ERROR SUMMARY" not in text:
            assert log.name != str(listener)
            continue
        found += 1
        assert "ERROR SUMMARY: 0 errors" in text, text
        if log.name == str(listener):
            # What it has as long as it lives, an epoll set and the rules; channels of spare engines, killed with it.
            kinds = collections.Counter(re.sub(r"(file descriptor|socket).*", r"\1", line) for line in left_open(text))
            assert kinds.pop("Open file descriptor") == 2, text
            assert kinds.pop("Open AF_UNIX socket", 0) <= 2, text
            assert not kinds, text
        else:
            # A look-up ends with its one word.
            assert left_open(text) == [] or "lookup_start" in text, text
    return found


# They take minutes, so that CI alone has them.
if "S6_TLSD_VALGRIND" in os.environ and not SANITIZED:
    @apart
    def test_connections_under_valgrind(pki, tmp_path, names):
        """Listener, signers, engines and look-ups: no error, no leak, nothing left open."""
        logs = tmp_path / "logs"
        logs.mkdir()
        # Where a child shares our memory valgrind forks, and prog would look in vain for what a fork leaves out.
        with Dns(), served(pki, tmp_path, names, changes=False, options=[UNSEALED],
                           program=valgrind(logs, TLSSERVER)) as server:
            visits = Visits(server, pki)
            visits.come(max(COUNT, len(FATES)))
            visits.over()
            checked(server, visits)
            server.pass_over(UNSEALED)
            server.stop()
        assert check_all(logs, server.pid) > sum(visits.codes.values()) / 2

    @pytest.mark.parametrize("part", range(4))
    def test_starts_under_valgrind(pki, tmp_path, part):
        """Monitor and engine, whatever becomes of the connection."""
        clients, fates = Clients(pki), list(FATES)
        for n in range(part, min(COUNT, 500), 4):
            fate = fates[n % len(fates)]
            monitor, engine = started(pki, clients, fate, options=[UNSEALED], program=valgrind(tmp_path))
            check(tmp_path, monitor=monitor, engine=engine)

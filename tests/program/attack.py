"""The wire under attack: a session over a wire that does its worst at one byte of it.

The peer is a harness.Client, so the wire is in this process: what the peer says goes up, to the program, and what
the program says comes down. An Attack names what befalls the wire, and at which byte: a Place, which is a record and
an offset in it, since signatures, and so sessions, differ in length by a byte or two.

The session is a conversation: handshake, two requests and prog's answers to them, the peer's close_notify, prog's exit,
and the program's end as -s or -S says. All that is said is known beforehand, so for each place it is known what the
program, prog and the peer must come to. judge() holds them to it.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import ssl
import time
from typing import NamedTuple

import harness
from harness import (ABLE, ENDS, LIMIT, PROGRAM, TLSC, Client, alive, children, client_context, late_alert,
                     minimal_environment, one_line, server_context, wait_for, wire_end)

ANSWERER = os.path.join(os.path.dirname(PROGRAM), "tests", "answerer")
ACCOUNT = 5  # the descriptor on which prog tells what it reads
TALK = [(100, 300), (60, 150)]  # the length of each request, and of the answer to it
SAID = [bytes([65 + n]) * request for n, (request, _) in enumerate(TALK)]
ANSWER = bytes(n % 251 for n in range(sum(answer for _, answer in TALK)))
HELD = 0.01  # the seconds of a stall; nothing is judged by them
ALL, NONE, FAILED = 7, 5, 98  # exit codes: prog's when it has heard and answered all, and when not; the program's
CHANGE_CIPHER_SPEC = 20
HEADER = 5
HARMLESS = ("nothing", "split", "stall", "merge", "shred")
PR_SET_CHILD_SUBREAPER = 36


class Place(NamedTuple):
    """In front of which byte of a direction; behind the last of n records it is (n, 0)."""
    record: int
    offset: int


class Attack(NamedTuple):
    """What befalls the wire, and where.

    cut: FIN, both ways. reset: RST, both ways. flip: one bit is wrong, of the byte behind the place. freeze: nothing
    goes up any more. split: what was sent in one piece comes in two; stall: with a pause between them. merge: all
    that need not wait for an answer comes in one piece, but for a split. shred: segments of `bit` bytes.
    """
    kind: str
    way: str = "up"  # or "down"
    place: Place = None
    below: Place = None  # for what is harmless: the place in what comes down
    bit: int = 0
    notify: bool = False  # -S
    enforce: bool = False  # -J
    leaves: bool = False  # prog exits behind its last answer, and only then the place is reached

    def __str__(self):
        return f"{self.kind} {self.way} at {self.place} {self.below} bit {self.bit} {' '.join(self.options())}"

    def options(self):
        """Those of the program. Where it may come to wait for what will never be, it has little patience.

        Nor has it then with a peer that could not be told of a failure, and does not know that it is waited for.
        """
        patience = None if self.leaves else {"flip": 250, "freeze": 100}.get(self.kind)
        bounds = [option + str(patience) for option in ("-K", "--handshake-timeout=", "--linger=")] if patience else []
        return ["-S" if self.notify else "-s", "-J" if self.enforce else "-j", *bounds]

    def talk(self):
        """prog's arguments, behind the descriptors."""
        return [str(n) for pair in TALK for n in pair] + (["0"] if self.leaves else [])

    @property
    def harmless(self):
        return self.kind in HARMLESS


class Outline(NamedTuple):
    """A session that nothing befell."""
    up: list  # (type, length with the header) of each record
    down: list
    handshake: int  # how many records of those up are the handshake; with the last of them the program knows all of it
    said: list  # how many there are when what was SAID is there

    def immaterial(self, attack):
        """Whether nobody need look at the byte that is flipped: a record's version, as long as there are no keys."""
        if attack.kind != "flip":
            return False
        kinds = [kind for kind, _ in getattr(self, attack.way)]
        clear = kinds.index(CHANGE_CIPHER_SPEC) if CHANGE_CIPHER_SPEC in kinds else 0
        return attack.place.offset in (1, 2) and attack.place.record <= clear


class Flow:
    """The bytes of one direction as they pass, cut into records, up to a place among them."""

    def __init__(self, place, behind=0):
        self.place, self.behind = place, behind  # it counts as reached when so many bytes behind it are there
        self.reached, self.broken = place is None, False
        self.data, self.starts = bytearray(), [0]

    def length(self, record):
        """Of a record, as far as it is known."""
        start = self.starts[record]
        if len(self.data) < start + HEADER:
            return None
        return HEADER + int.from_bytes(self.data[start + 3:start + HEADER], "big")

    def at(self):
        """Where the place is; None when it is behind all that is known. A record may be shorter than its offset."""
        record, offset = self.place
        if record >= len(self.starts):
            return None
        if offset < HEADER:
            return self.starts[record] + offset
        length = self.length(record)
        return None if length is None else self.starts[record] + min(offset, length)

    def take(self, data):
        self.data += data
        while (length := self.length(-1)) is not None and len(self.data) >= self.starts[-1] + length:
            self.starts.append(self.starts[-1] + length)

    def pass_on(self, data):
        """The next bytes: (those before the place, those behind it); None instead of these where the place is not."""
        if self.broken:
            return data, None
        before = len(self.data)
        self.take(data)
        at = None if self.reached else self.at()
        if at is None or at + self.behind > len(self.data):
            return data, None
        self.reached = True
        return data[:max(at - before, 0)], data[max(at - before, 0):]

    def stop(self):
        """At the place: what is behind it did not pass, or not as it was sent."""
        self.broken, at = True, self.at()
        del self.data[at:]
        while self.starts[-1] > at:
            self.starts.pop()

    @property
    def whole(self):
        """How many records passed whole."""
        return len(self.starts) - 1

    @property
    def inside(self):
        """Whether the last byte was not the last of its record."""
        return len(self.data) > self.starts[-1]

    def records(self):
        return [(self.data[a], b - a) for a, b in zip(self.starts, self.starts[1:])]


class Over(Exception):
    """The peer has come to the end of the conversation, wherever that was."""


class Peer(Client):
    """The one that the program talks to, and the wire between them.

    settle() is called before the wire is attacked in a place where prog may be about to exit; it waits until it has.
    """

    def __init__(self, sock, context, attack, settle):
        super().__init__(sock, None, context=context)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.attack, self.settle = attack, settle
        down = attack.way == "down"
        behind = attack.kind == "flip"
        self.up = Flow(None if down else attack.place, behind)
        self.down = Flow(attack.place if down else attack.below, behind)
        self.silent = False  # nothing goes up any more
        self.held = b""  # has come down, and was not let through yet
        self.struck = None  # how many records had gone up when the wire was attacked
        self.parted = False  # close_notify was said
        self.got = b""  # of prog's answers
        self.wire = None  # how it ended: "fin" or "reset"
        self.handshake_records = 0
        self.said_records = []

    # -- the wire

    def put(self, data):
        step = self.attack.bit if self.attack.kind == "shred" else len(data) or 1
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what comes down tells more
            for n in range(0, len(data), step):
                self.sock.sendall(data[n:n + step])

    def flush(self):
        data = self.outbound.read()
        if not data or self.silent:
            return
        head, tail = self.up.pass_on(data)
        self.put(head)
        if tail is not None:
            self.strike_up(tail)

    def fill(self):
        if self.held:
            self.inbound.write(self.held)
            self.held = b""
            return True
        try:
            data = self.sock.recv(1 << 17)
        except ConnectionResetError:
            data, self.end = b"", "reset"
        if not data:
            self.end = self.end or "fin"
            return False
        head, tail = self.down.pass_on(data)
        self.inbound.write(head)
        if tail is not None:
            self.strike_down(tail)
        return self.end is None

    def strike_up(self, tail):
        if self.attack.harmless:
            self.pause()
            self.put(tail)
            return
        self.up.stop()
        self.struck = self.up.whole
        if self.attack.kind == "flip":
            self.put(self.flip(tail))
        else:
            self.break_off()

    def strike_down(self, tail):
        if self.attack.harmless:
            self.pause()
            self.held = tail
            return
        self.down.stop()
        self.struck = self.up.whole
        if self.attack.kind == "flip":
            self.inbound.write(self.flip(tail))
            return
        if self.parted:
            self.settle()
        self.end = "fin"
        self.break_off()

    def flip(self, data):
        return bytes([data[0] ^ 1 << self.attack.bit]) + data[1:]

    def pause(self):
        if self.attack.kind == "stall":
            time.sleep(HELD)

    def break_off(self):
        self.silent = True
        if self.attack.kind == "cut":
            self.shut()
        elif self.attack.kind == "reset":
            self.reset()
            self.end = self.wire = "reset"

    def shut(self):
        with contextlib.suppress(OSError):  # it is gone already
            self.fin()

    # -- the conversation

    def talk(self):
        """All of it, or as far as it gets. Then nothing is left to be read from the wire."""
        try:
            self.shake_hands()
            self.merge() if self.attack.kind == "merge" else self.converse()
        except ssl.SSLError as e:
            self.end = self.end or f"alert: {e.reason}"
        except Over:
            pass
        self.flush()
        if not self.silent:
            self.shut()
        self.wire = self.wire or wire_end(self.sock)
        self.sock.close()

    def shake_hands(self):
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.handshake_records = self.up.whole
                if self.end or not self.fill():
                    raise Over from None
        if self.attack.kind == "merge":
            return
        self.flush()
        if not (harness.ROLE == "client" and self.tls.version() == "TLSv1.3"):  # else the program's was the last word
            self.handshake_records = self.up.whole

    def hear(self, n=None):
        """Until that much was heard of prog's answers; without a number, to their end."""
        while n is None or len(self.got) < n:
            data = self.read()
            if not data:
                raise Over
            self.got += data

    def converse(self):
        heard = 0
        for said, (_, answer) in zip(SAID, TALK):
            self.tls.write(said)
            self.flush()
            self.said_records.append(self.up.whole)
            heard += answer
            self.hear(heard)
        if self.attack.leaves:
            with contextlib.suppress(Over):
                self.hear()
            self.settle()
        self.close_notify()
        self.parted = True
        self.hear()

    def merge(self):
        for said in SAID:
            self.tls.write(said)
        if ABLE.replies_after_close_notify:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        self.flush()
        self.shut()
        self.hear()


# -- what must come of it ------------------------------------------------------

class Conversation:
    """A peer that has talked, and what is known of the other side when that is over.

    code: what the program ended with; complaint: the one message about the connection, or ""; account: prog's.
    """

    def __init__(self, attack, peer, code, complaint, account):
        self.attack, self.peer, self.code, self.complaint, self.account = attack, peer, code, complaint, account
        self.ran = account != b""
        self.gave_up = "idle for" in complaint or "not done after" in complaint
        self.struck = peer.up.whole if peer.struck is None else peer.struck

    def __str__(self):
        peer = self.peer
        return (f"{self.attack}: code {self.code}, {self.complaint!r}, account {self.account}, "
                f"{self.struck} records up, {len(peer.got)} bytes of the answer, its end {peer.end}, the wire's {peer.wire}")

    def judge(self, outline):
        assert self.gave_up or self.attack.harmless or self.peer.struck is not None, "the place was not reached"
        assert self.code in self.codes(outline)
        self.judge_complaint()
        self.judge_account(outline)
        self.judge_answer(outline)

    def parted(self, outline):
        """Whether the peer's close_notify arrived."""
        peer = self.peer
        return peer.parted and (peer.struck is None or self.attack.way == "down" or self.struck == len(outline.up))

    def codes(self, outline):
        """The exit codes that are right."""
        attack = self.attack
        if attack.harmless or attack.leaves:
            return [ALL]
        if outline.immaterial(attack):
            return [ALL, FAILED]
        if self.parted(outline):
            # prog is about to exit. What comes then does not count; what comes at the same time, or before, does.
            return [ALL, FAILED] if attack.kind == "reset" and attack.way == "up" else [ALL]
        if attack.kind != "cut" or self.struck < outline.handshake or self.peer.up.inside or attack.enforce:
            return [FAILED]
        return [ALL if self.struck >= outline.said[-1] else NONE]

    def judge_complaint(self):
        """Of a failure, and of nothing else: what failed, and where it is known, why."""
        if self.code != FAILED:
            assert self.complaint == ""
            return
        assert ("TLS failed: " if self.ran else "handshake failed: ") in self.complaint
        if self.attack.kind == "cut" and self.peer.up.inside and self.ran:
            assert "cut inside a record" in self.complaint
        assert "does not take the rest" not in self.complaint  # this peer takes everything
        if self.attack.kind == "reset":
            assert "reset" in self.complaint

    def judge_account(self, outline):
        """prog runs only behind a handshake, and then it reads what was sent and arrived, whole and in order."""
        if self.code == ALL:
            assert self.account == b"(" + b"".join(SAID) + (b"" if self.attack.leaves else b")")
            return
        assert not self.ran or self.account[:1] + self.account[-1:] == b"()"
        heard, sent = self.account[1:-1], b"".join(s for s, n in zip(SAID, outline.said) if n <= self.struck)
        assert not self.ran or self.struck >= outline.handshake or outline.immaterial(self.attack), "prog ran"
        if self.attack.kind == "reset" or self.gave_up or outline.immaterial(self.attack):
            assert sent.startswith(heard)
        else:
            assert (self.ran, heard) == (self.struck >= outline.handshake, sent)

    def judge_answer(self, outline):
        """The peer has the beginning of prog's answer; when it is not all of it, it does not look as if it were."""
        attack, peer = self.attack, self.peer
        assert ANSWER.startswith(peer.got)
        if attack.harmless or attack.leaves:
            assert peer.got == ANSWER
        if attack.harmless or (attack.way == "up" and attack.kind == "cut" and self.code != FAILED):
            answered = self.parted(outline) and not attack.leaves and not ABLE.replies_after_close_notify
            assert (peer.end, peer.wire) == (ENDS["-S" if attack.notify or answered else "-s"], "fin")
        if self.code != FAILED:
            return
        assert peer.end != "close_notify"
        if attack.way == "up" and self.ran and attack.kind == "cut":
            assert peer.wire == "reset" or peer.end == "reset"
        if attack.way == "up" and self.ran and attack.kind == "flip" and not self.gave_up:
            assert peer.end.startswith(late_alert())


# -- the program, once for each session ----------------------------------------

def adopt_orphans(on):
    """From here on what a process leaves behind when it ends becomes our child, and shows."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) == 0


def read_out(fd):
    """All that comes out of a pipe, until nobody has its other end."""
    parts = []
    while True:
        assert select.select([fd], [], [], LIMIT)[0], "a process hangs"
        part = os.read(fd, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def context_for(pki, version):
    context = server_context(pki.server) if harness.ROLE == "client" else client_context(pki)
    context.minimum_version = context.maximum_version = harness.TLS[version]
    return context


class Running:
    """The program, started with little ado: s6-tlsd, or s6-tlsc, on one end of a connection, in front of ANSWERER."""

    def __init__(self, variables, attack, sock):
        (self.stderr, stderr), (self.account, account) = os.pipe(), os.pipe()
        # Out of the way of the numbers that they are to have.
        low = [sock.detach(), stderr, account, os.open(os.devnull, os.O_RDWR)]
        wire, stderr, account, null = high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in low]
        if harness.ROLE == "server":
            command, places = [PROGRAM, *attack.options(), ANSWERER, "0", "1"], [(wire, 0), (wire, 1)]
        else:
            command = [TLSC, "-k", "localhost", *attack.options(), ANSWERER, "6", "7"]
            places = [(null, 0), (null, 1), (wire, 6), (wire, 7)]
        places += [(stderr, 2), (account, ACCOUNT)]
        self.pid = os.posix_spawn(command[0], [*command, str(ACCOUNT), *attack.talk()], variables,
                                  setsigdef=[signal.SIGPIPE],
                                  file_actions=[(os.POSIX_SPAWN_DUP2, *place) for place in places])
        for fd in low + high:
            os.close(fd)
        self.code = None

    def settle(self):
        wait_for(lambda: len(children(self.pid)) < 2, "prog's exit")

    def finish(self):
        """(exit code, stderr, account), when it has ended."""
        account, stderr = read_out(self.account), read_out(self.stderr).decode()
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code, stderr, account

    def close(self):
        if self.code is None:
            for pid in [self.pid, *children(self.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.stderr)
        os.close(self.account)


class Wires:
    """What sessions share: the listening socket, the peer's context, the program's environment."""

    def __init__(self, pki, version):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.context = context_for(pki, version)
        names = {"CAFILE": pki.cafile} if harness.ROLE == "client" else {
            "KEYFILE": pki.server.keyfile, "CERTFILE": pki.server.certfile}
        # A socket that was reset does not know its peer any more.
        self.variables = minimal_environment(TCPREMOTEIP="127.0.0.1", **names)

    def __enter__(self):
        adopt_orphans(1)
        return self

    def __exit__(self, *exc):
        adopt_orphans(0)
        self.listener.close()

    def session(self, attack):
        """One conversation, to its end, of which no process may be left."""
        before = children(os.getpid())
        sock = socket.create_connection(self.listener.getsockname(), LIMIT)
        running = Running(self.variables, attack, self.listener.accept()[0])
        try:
            peer = Peer(sock, self.context, attack, running.settle)
            peer.talk()
            code, stderr, account = running.finish()
        finally:
            running.close()
        assert children(os.getpid()) == before, "a process is left"
        complaint = one_line(stderr) if stderr else ""
        assert not complaint or complaint.startswith(f"pid={running.pid} peer=127.0.0.1"), complaint
        return Conversation(attack, peer, code, complaint, account)


def outline(session):
    """Of the sessions that session(attack) makes: each record at its longest."""
    found = [session(Attack("nothing", notify=True)) for _ in range(4)]
    for conversation in found:
        conversation.judge(None)
    peers = [conversation.peer for conversation in found]
    return Outline(longest([peer.up.records() for peer in peers]), longest([peer.down.records() for peer in peers]),
                   peers[0].handshake_records, peers[0].said_records)


def longest(sessions):
    assert len({tuple(kind for kind, _ in records) for records in sessions}) == 1
    return [max(records) for records in zip(*sessions)]


# -- s6-tlsserver, once for many -----------------------------------------------

def served(server, folder, attack, context):
    """One conversation with a Server whose prog is answerer_for(folder): likewise."""
    sock = server.connect()
    name = "{}:{}".format(*sock.getsockname())

    def settle():
        prog = int(server.event("start", peer=name)["prog"])
        wait_for(lambda: not alive(prog), "prog's exit")

    peer = Peer(sock, context, attack, settle)
    peer.talk()
    code = int(server.event("end", peer=name)["code"])
    complaint = server.warning(f"peer={name} (.*)")[1] if code == FAILED else ""
    path = os.path.join(folder, name.rpartition(":")[2])
    account = b""
    if os.path.exists(path):
        with open(path, "rb") as f:
            account = f.read()
    return Conversation(attack, peer, code, complaint, account)


def answerer_for(folder):
    """A prog whose accounts are in that folder, each by the port of its peer."""
    return ["sh", "-c", f'exec "$@" {ACCOUNT}>"$0/$TCPREMOTEPORT"', os.fspath(folder), ANSWERER, "0", "1",
            str(ACCOUNT), *Attack("nothing").talk()]

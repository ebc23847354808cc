"""A network, a resolver and names of its own for a test: apart(), and what then can be there.

A network namespace and a mount namespace belong to a thread, so a test that is apart runs in one
that nothing else uses; what it starts is apart with it, and all of it is gone when the thread is.
"""

import concurrent.futures
import contextlib
import ctypes
import fcntl
import functools
import os
import select
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass

import pytest

from harness import LIMIT, wait_for

NEW_MOUNTS, NEW_NETWORK = 0x20000, 0x40000000
SET_INTERFACE, TUN, WITHOUT_HEADER = 0x400454ca, 1, 0x1000


def command(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout}"
    return done.stdout


def routed(*addresses):
    """Waits until IPv6 addresses can be reached: behind the call that adds them, the kernel takes its time."""
    wait_for(lambda: all(f"local {address} " in command("ip", "-6", "route", "show", "table", "local")
                         for address in addresses), f"routes to {addresses}")


def leave():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_MOUNTS | NEW_NETWORK) != 0:
        pytest.skip(f"no namespaces are to be had here: {os.strerror(ctypes.get_errno())}")
    command("mount", "--make-rprivate", "/")
    command("ip", "link", "set", "lo", "up")


def apart(test):
    """Decorates a test: it has a network of its own, with nothing but loopback, and mounts of its own."""
    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network of its own")
    @functools.wraps(test)
    def wrapper(*args, **kw):
        def run():
            leave()
            test(*args, **kw)
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            thread.submit(run).result()
    return wrapper


@pytest.fixture
def names(tmp_path):
    """A function for a test that is apart: names("127.0.0.1 a b\\n...") is what /etc/hosts has; DNS is asked at
    127.0.0.1, once and for timeout seconds, and search is resolv.conf's line."""
    def put(hosts="", search=".", timeout=1):
        resolv = f"nameserver 127.0.0.1\nsearch {search}\noptions timeout:{timeout} attempts:1\n"
        for name, text in (("hosts", hosts), ("nsswitch.conf", "hosts: files dns\nservices: files\n"),
                           ("resolv.conf", resolv)):
            (tmp_path / name).write_text(text)
            command("mount", "--bind", tmp_path / name, "/etc/" + name)
    return put


@dataclass(frozen=True)
class Syn:
    """The first segment of a connection; raw: the packet."""
    to: str
    port: int
    at: float
    raw: bytes


class Void:
    """The interface behind which nothing answers but what the test does: 192.0.2.0/24 and 2001:db8::/64."""

    def __init__(self):
        try:
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as e:
            pytest.skip(f"/dev/net/tun is not to be had here: {e.strerror}")
        fcntl.ioctl(self.fd, SET_INTERFACE, struct.pack("16sH22x", b"void", TUN | WITHOUT_HEADER))
        command("ip", "addr", "add", "192.0.2.1/24", "dev", "void")
        command("ip", "addr", "add", "2001:db8::1/64", "dev", "void", "nodad")
        command("ip", "link", "set", "void", "up")
        routed("2001:db8::1")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.close(self.fd)

    def syn(self, process=None):
        """The next SYN, sent again or not; None when there is none and the process has ended."""
        deadline = time.monotonic() + LIMIT
        while True:
            ended = process is not None and process.poll() is not None
            if select.select([self.fd], [], [], 0 if ended else 0.01)[0]:
                packet = os.read(self.fd, 65536)
                six = packet[0] >> 4 == 6
                ip = 40 if six else (packet[0] & 15) * 4
                if packet[6 if six else 9] == socket.IPPROTO_TCP and packet[ip + 13] & 0x12 == 2:
                    to = socket.inet_ntop(*(socket.AF_INET6, packet[24:40]) if six else (socket.AF_INET, packet[16:20]))
                    return Syn(to, struct.unpack_from("!H", packet, ip)[0], time.monotonic(), packet)
            elif ended:
                return None
            assert time.monotonic() < deadline, "no SYN came"

    def attempts(self, process):
        """The SYNs of the process until its end, each once."""
        found = {}
        while syn := self.syn(process):
            found.setdefault((syn.to, syn.port), syn)
        return list(found.values())

    def answer(self, syn):
        """Answers a SYN of IPv4 as one that listens (RFC 9293, 3.5)."""
        source, target = syn.raw[12:16], syn.raw[16:20]
        ours, theirs, sequence = struct.unpack_from("!HHI", syn.raw, (syn.raw[0] & 15) * 4)
        segment = struct.pack("!HHIIBBHHH", theirs, ours, 1, (sequence + 1) % 2**32, 5 << 4, 0x12, 65535, 0, 0)
        total = checksum(target + source + struct.pack("!HH", socket.IPPROTO_TCP, len(segment)) + segment)
        segment = segment[:16] + struct.pack("!H", total) + segment[18:]
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0, target, source)
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        os.write(self.fd, header + segment)


def checksum(data):
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xffff:
        total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff


class Dns:
    """A name server at 127.0.0.1. records: {(name, "A" or "PTR"): address or name}; asked: every name, in order."""

    KINDS = {1: "A", 12: "PTR", 28: "AAAA"}

    def __init__(self, records=()):
        self.records, self.asked = dict(records), []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as s:
            s.sendto(b"", ("127.0.0.1", 53))
        self.thread.join()
        self.socket.close()

    @staticmethod
    def question(query):
        """The name, the number of its type, and where the question ends."""
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        return ".".join(labels), struct.unpack_from("!H", query, at + 1)[0], at + 5

    def serve(self):
        while True:
            query, peer = self.socket.recvfrom(4096)
            if not query:
                return
            name, number, end = self.question(query)
            kind = self.KINDS.get(number)
            if name not in self.asked:
                self.asked.append(name)
            answer = b""
            if (name, kind) in self.records:
                value = self.records[name, kind]
                data = socket.inet_aton(value) if kind == "A" else b"".join(
                    bytes([len(label)]) + label.encode() for label in value.split(".")) + b"\0"
                answer = b"\xc0\x0c" + struct.pack("!HHIH", number, 1, 60, len(data)) + data
            known = any(name == n for n, _ in self.records)
            flags = 0x8580 if known else 0x8583
            self.socket.sendto(query[:2] + struct.pack("!HHHHH", flags, 1, 1 if answer else 0, 0, 0) + query[12:end]
                               + answer, peer)

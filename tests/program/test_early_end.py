"""A close_notify in the middle of the handshake: it ends the connection, and the handshake is none."""

import contextlib
import hashlib
import hmac
import os
import ssl
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import harness
from harness import Client, Tlsd, fatal_line, wire_end

ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
CLOSE_NOTIFY = bytes([1, 0])


def record(kind, body):
    return struct.pack(">BHH", kind, 0x303, len(body)) + body


def records(data):
    """Cuts a flight into its records."""
    found = []
    while data:
        n = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[:n])
        data = data[n:]
    return found


def must_fail(tlsd, ran):
    """98, told once, and prog was never started."""
    assert wire_end(tlsd.sock) in ("fin", "reset")
    tlsd.sock.close()
    assert tlsd.wait() == 98
    assert "handshake failed: " in fatal_line(tlsd)
    assert not ran.exists()


def strict():
    """The program asks of its peer what it can, and its arguments say so."""
    return ["-y"] if harness.ROLE == "server" else []


@pytest.mark.both_roles
@pytest.mark.parametrize("sent", [0, 1, 2, 3])
def test_close_notify_in_the_handshake(pki, tmp_path, version, sent):
    """Behind so many records of the peer's first flight: nobody has shown who he is, so prog does not run."""
    ran = tmp_path / "ran"
    with Tlsd(pki, ["touch", str(ran)], strict(), env={"CAFILE": pki.cafile}) as tlsd:
        peer = Client(tlsd.sock, pki, version, pki.client if harness.ROLE == "server" else None)
        if harness.ROLE == "client":
            assert peer.fill()
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        flight = records(peer.outbound.read())
        tlsd.sock.sendall(b"".join(flight[:sent]) + record(ALERT, CLOSE_NOTIFY))
        must_fail(tlsd, ran)


# -- a server that has no key ------------------------------------------------

def sha256(data=b""):
    return hashlib.sha256(data).digest()


def expand(secret, label, context, n):
    """HKDF-Expand-Label (RFC 8446, 7.1), for what fits into one block."""
    label = b"tls13 " + label
    info = struct.pack(">HB", n, len(label)) + label + bytes([len(context)]) + context
    return hmac.digest(secret, info + b"\1", "sha256")[:n]


def message(kind, body):
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def extension(kind, body):
    return struct.pack(">HH", kind, len(body)) + body


def key_share(hello):
    """The client's share of X25519; one of TLS 1.2 has none, and will not like the answer anyway."""
    at = hello.find(struct.pack(">HH", 29, 32))
    return X25519PublicKey.from_public_bytes(hello[at + 4:at + 36] if at >= 0 else bytes([9] + [0] * 31))


class Keyless:
    """A TLS 1.3 server up to its ServerHello: from there on it could say anything, but prove nothing."""

    def __init__(self, hello):
        key = X25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        session_id = hello[38:39 + hello[38]]
        extensions = extension(43, b"\3\4") + extension(51, struct.pack(">HH", 29, 32) + public)
        self.hello = message(2, b"\3\3" + os.urandom(32) + session_id + b"\x13\1\0" +
                             struct.pack(">H", len(extensions)) + extensions)
        derived = expand(hmac.digest(bytes(32), bytes(32), "sha256"), b"derived", sha256(), 32)
        secret = expand(hmac.digest(derived, key.exchange(key_share(hello)), "sha256"), b"s hs traffic",
                        sha256(hello + self.hello), 32)
        self.cipher = AESGCM(expand(secret, b"key", b"", 16))
        self.iv = int.from_bytes(expand(secret, b"iv", b"", 12), "big")
        self.sent = 0

    def encrypt(self, kind, body):
        header = struct.pack(">BHH", APPLICATION_DATA, 0x303, len(body) + 17)
        nonce = (self.iv ^ self.sent).to_bytes(12, "big")
        self.sent += 1
        return header + self.cipher.encrypt(nonce, body + bytes([kind]), header)


@pytest.mark.parametrize("role", ["client"], indirect=True)
@pytest.mark.parametrize("extensions", [False, True])
def test_close_notify_of_a_server_that_has_proved_nothing(pki, tmp_path, extensions):
    """Under the keys of the handshake, which anybody in the middle can agree on: that is no end of a handshake."""
    ran = tmp_path / "ran"
    with Tlsd(pki, ["touch", str(ran)]) as tlsd:
        hello = tlsd.sock.recv(65536)
        server = Keyless(hello[5:])
        flight = record(HANDSHAKE, server.hello)
        if extensions:
            flight += server.encrypt(HANDSHAKE, message(8, b"\0\0"))
        tlsd.sock.sendall(flight + server.encrypt(ALERT, CLOSE_NOTIFY))
        must_fail(tlsd, ran)

"""Records that no TLS library would send, under the keys of a real session.

The handshake is OpenSSL's, by harness.Client; its key log gives the secrets.
From then on everything that goes out is made here, so the Client may only read.
"""

import contextlib
import hmac
import os
import ssl

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

import harness
from harness import TLS, Client, Tlsd, server_context

ALERT, HANDSHAKE, DATA = 21, 22, 23

# RFC 8446, 4.6.3, with request_update 0 and 1.
KEY_UPDATE, KEY_UPDATE_REQUESTED = b"\x18\x00\x00\x01\x00", b"\x18\x00\x00\x01\x01"


class Tap:
    """A memory BIO that keeps the first bytes that are written to it, or read from it."""

    def __init__(self, bio):
        self.bio, self.seen = bio, b""

    def keep(self, data):
        if len(self.seen) < 64:
            self.seen += data
        return data

    def write(self, data):
        return self.bio.write(self.keep(data))

    def read(self):
        return self.keep(self.bio.read())


def prf(name, secret, label, seed, n):
    """RFC 5246, section 5."""
    seed, a, out = label + seed, label + seed, b""
    while len(out) < n:
        a = hmac.digest(secret, a, name)
        out += hmac.digest(secret, a + seed, name)
    return out[:n]


def expand_label(name, secret, label, n):
    """RFC 8446, 7.1, for an empty context and what fits one round of HKDF."""
    label = b"tls13 " + label
    info = n.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.digest(secret, info + b"\x01", name)[:n]


def is_client():
    """Whether the peer, whose records are made, is one."""
    return harness.ROLE == "server"


def side(pair):
    """The peer's half of the client's and the server's."""
    return pair[:len(pair) // 2] if is_client() else pair[len(pair) // 2:]


class Forger:
    """Makes the peer's records after its Finished; `sequence` counts those under the present key."""

    def __init__(self, client, keylog, server_hello):
        suite, protocol, _ = client.tls.cipher()
        self.name = "sha384" if "SHA384" in suite else "sha256"
        self.aead, self.size = (ChaCha20Poly1305, 32) if "CHACHA" in suite else (AESGCM, 32 if "256_GCM" in suite or
                                                                                 "256-GCM" in suite else 16)
        self.is_13 = protocol == "TLSv1.3"
        with open(keylog) as f:
            lines = [line.split() for line in f if not line.startswith("#")]
        secrets = {label: (bytes.fromhex(random), bytes.fromhex(secret)) for label, random, secret in lines}
        if self.is_13:
            self.take(secrets["CLIENT_TRAFFIC_SECRET_0" if is_client() else "SERVER_TRAFFIC_SECRET_0"][1])
        else:
            random, master = secrets["CLIENT_RANDOM"]
            block = prf(self.name, master, b"key expansion", server_hello[11:43] + random, 2 * self.size + 8)
            keys, ivs = block[:2 * self.size], block[2 * self.size:]
            self.cipher, self.iv, self.sequence = self.aead(side(keys)), side(ivs), 1

    def take(self, secret):
        self.secret, self.sequence = secret, 0
        self.cipher = self.aead(expand_label(self.name, secret, b"key", self.size))
        self.iv = expand_label(self.name, secret, b"iv", 12)

    def record(self, kind, content):
        """One record of that type, of any content, none included."""
        number = self.sequence.to_bytes(8, "big")
        self.sequence += 1
        if self.is_13:
            header = bytes([DATA, 3, 3]) + (len(content) + 17).to_bytes(2, "big")
            nonce = bytes(a ^ b for a, b in zip(self.iv, bytes(4) + number))
            return header + self.cipher.encrypt(nonce, content + bytes([kind]), header)
        sealed = self.cipher.encrypt(self.iv + number, content, number + bytes([kind, 3, 3]) +
                                     len(content).to_bytes(2, "big"))
        return bytes([kind, 3, 3]) + (8 + len(sealed)).to_bytes(2, "big") + number + sealed

    def key_update(self, message=KEY_UPDATE):
        """A KeyUpdate; what follows is under the next key."""
        record = self.record(HANDSHAKE, message)
        self.take(expand_label(self.name, self.secret, b"traffic upd", len(self.secret)))
        return record


@contextlib.contextmanager
def forging(pki, prog, version, tmp_path, options=(), sock=None, **kw):
    """A Tlsd, a Client whose handshake is done and that only reads from here on, and the Forger of its records."""
    keylog = tmp_path / "keys"
    if is_client():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(pki.cafile)
    else:
        context = server_context(pki.server)
        context.num_tickets = 0  # they would be the first records under its key
    context.minimum_version = context.maximum_version = TLS[version]
    context.set_ciphers("ECDHE+AESGCM")
    context.keylog_filename = os.fspath(keylog)
    with Tlsd(pki, prog, options, **kw) as tlsd:
        client = Client(sock or tlsd.sock, pki, context=context)
        tap = Tap(client.inbound if is_client() else client.outbound)
        if is_client():
            client.inbound = tap
        else:
            client.outbound = tap
        client.handshake()
        yield tlsd, client, Forger(client, keylog, tap.seen)

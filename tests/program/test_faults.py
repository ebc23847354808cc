"""Twelve faults: whatever the backend, the exit code and the shape of the one message are the same."""

import os
import re
import ssl
import tempfile

import pytest

from harness import Client, Tlsd, make_identity, one_line, ordinary, refusal, too_old, wire_end


# -- how each fault is made: the variables before the start, or what the client does --------------

def garbage(variable, label):
    """The file of that variable has the right label around what no library can make anything of."""
    def variables(pki, folder):
        path = os.path.join(folder, "garbage")
        with open(path, "w") as f:
            f.write(f"-----BEGIN {label}-----\nMAAA\n-----END {label}-----\n")
        return {variable: path}
    return variables


garbage_key, garbage_cert = garbage("KEYFILE", "PRIVATE KEY"), garbage("CERTFILE", "CERTIFICATE")


def mismatch(pki, folder):
    return {"KEYFILE": pki.client.keyfile, "CERTFILE": pki.server.certfile}


def absent(pki, folder):
    return {"KEYFILE": os.path.join(folder, "absent")}


def unreadable(pki, folder):
    keyfile, certfile = pki.server.files(folder, "server")
    os.chmod(keyfile, 0)
    return {"KEYFILE": keyfile, "CERTFILE": certfile}


def cleartext(tlsd, pki, version):
    tlsd.sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wire_end(tlsd.sock)


def old_version(tlsd, pki, version):
    assert refusal(Client(tlsd.sock, pki, context=too_old())) == "alert: TLSV1_ALERT_PROTOCOL_VERSION"


def gone(tlsd, pki, version):
    """The client leaves when it has read the answer to its hello."""
    client = Client(tlsd.sock, pki, version)
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.flush()
    assert client.fill()
    client.fin()
    wire_end(client.sock)


def stranger(tlsd, pki, version):
    identity = pki.issue("stranger", "mallory", make_identity("Other CA", ca=True))
    assert refusal(Client(tlsd.sock, pki, version, identity)) == "alert: TLSV1_ALERT_UNKNOWN_CA"


def nobody(tlsd, pki, version):
    assert refusal(Client(tlsd.sock, pki, version)).startswith("alert: ")


def cut(tlsd, pki, version):
    client = Client(tlsd.sock, pki, version).handshake()
    client.sock.sendall(client.encrypt(b"whole") + client.encrypt(bytes(3000))[:1500])
    client.fin()
    wire_end(client.sock)


# -- the table -------------------------------------------------------------------------------------

# What a library may say in its own way: plain words, no number of an error and no place in its source.
WORDS = "[A-Za-z][A-Za-z ,'-]+"
UNKNOWN = "the peer's certificate is refused: its chain leads to no trust anchor"

# {KEYFILE} and {CERTFILE} are the files' names. Every message has pid and peer before it and nothing behind it.
FAULTS = [
    # fault                    options made by       code  what the message says, a regular expression
    ("garbage key",            [],     garbage_key,    96, "KEYFILE {KEYFILE}: not a private key: " + WORDS),
    ("garbage certificate",    [],     garbage_cert,   96, "CERTFILE {CERTFILE}: not a certificate: " + WORDS),
    ("mismatch",               [],     mismatch,       96, "KEYFILE {KEYFILE} does not belong to CERTFILE {CERTFILE}"),
    ("absent file",            [],     absent,        111, "KEYFILE {KEYFILE}: cannot open: No such file or directory"),
    ("unreadable file",        [],     unreadable,    111, "KEYFILE {KEYFILE}: cannot open: Permission denied"),
    ("cleartext client",       [],     cleartext,      98, "handshake failed: " + WORDS),
    ("no common version",      [],     old_version,    98, "handshake failed: unsupported protocol"),
    ("gone in mid-handshake",  [],     gone,           98, "handshake failed: the peer left"),
    ("a stranger with -y",     ["-y"], stranger,       98, "handshake failed: " + UNKNOWN),
    ("a stranger with -Y",     ["-Y"], stranger,       98, "handshake failed: " + UNKNOWN),
    ("no certificate with -y", ["-y"], nobody,         98, "handshake failed: peer did not return a certificate"),
    ("cut inside a record",    [],     cut,            98, "TLS failed: the connection was cut inside a record"),
]
AT_START = {96, 111}


@pytest.fixture
def folder():
    """A folder that nobody, whom root becomes for an unreadable file, may enter."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield path


@pytest.mark.parametrize("options, make, code, shape", [fault[1:] for fault in FAULTS],
                         ids=[fault[0].replace(" ", "-") for fault in FAULTS])
def test_fault(pki, tmp_path, folder, version, options, make, code, shape):
    """The exit code and the message are the table's; only a fault behind the handshake finds prog running."""
    env, preexec = {"CAFILE": pki.cafile}, None
    if code in AT_START:
        env |= make(pki, folder)
        preexec = ordinary if make is unreadable else None
    ran = tmp_path / "ran"
    with Tlsd(pki, ["sh", "-c", 'touch "$0"; cat > /dev/null', str(ran)], options, env=env, preexec=preexec) as tlsd:
        if code not in AT_START:
            make(tlsd, pki, version)
            tlsd.sock.close()
        assert tlsd.wait() == code
        message = one_line(tlsd.stderr())
        names = {name: re.escape(path) for name, path in env.items()}
        frame = f"pid={tlsd.pid} peer={re.escape(tlsd.peername)} "
    assert re.fullmatch(frame + shape.format(**names), message), message
    assert ran.exists() == shape.startswith("TLS failed")

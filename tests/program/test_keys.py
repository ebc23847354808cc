"""Keys, certificates and trust anchors: every form that works, and every fault with its code, file and reason."""

import fcntl
import os
import pty
import re
import socket
import ssl
import tempfile
import termios
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (BestAvailableEncryption, Encoding, NoEncryption,
                                                          PrivateFormat, PublicFormat)

from harness import (ABLE, Client, LIMIT, NEWEST, Tlsd, VERSIONS, make_identity, new_key, one_line, ordinary,
                     refusal, refused_at_start, session)

PKCS8, TRADITIONAL = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
EC_PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
TEXT = b"Bag Attributes\n    friendlyName: s6\nsubject=CN = localhost\n\n"
MEGABYTE = 1 << 20


def key_bytes(key, encoding=Encoding.PEM, form=PKCS8, encryption=NoEncryption()):
    return key.private_bytes(encoding, form, encryption)


def traditional(key):
    return key_bytes(key, form=TRADITIONAL)


def crlf(pem):
    return pem.replace(b"\n", b"\r\n")


def trusting(version=None):
    """A client's context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def served(pki, env, version=None, **kw):
    """The certificate that a client, who verifies it, is shown; a byte has gone round and nothing was said."""
    with session(pki, ["cat"], version=version, env=env, **kw) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        client.fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""
        return client.tls.getpeercert(True)


# -- what works ------------------------------------------------------------------

KEY_FORMS = {
    "PKCS#8 PEM": key_bytes,
    "PKCS#8 DER": lambda key: key_bytes(key, Encoding.DER),
    "traditional PEM": traditional,
    "traditional DER": lambda key: key_bytes(key, Encoding.DER, TRADITIONAL),
    "CRLF": lambda key: crlf(key_bytes(key)),
    "traditional CRLF": lambda key: crlf(traditional(key)),
    "text before": lambda key: TEXT + key_bytes(key),
    "text around": lambda key: TEXT + key_bytes(key) + TEXT,
    "no newline at the end": lambda key: key_bytes(key).rstrip(b"\n"),
}


@pytest.mark.parametrize("form", KEY_FORMS)
def test_form_of_key(pki, tmp_path, form):
    """An EC key is read in every form."""
    (tmp_path / "key").write_bytes(KEY_FORMS[form](pki.server.key))
    assert served(pki, {"KEYFILE": str(tmp_path / "key")}) == pki.server.cert_der()


def test_ec_parameters_before_the_key(pki, tmp_path):
    """What `openssl ecparam -genkey` writes is a key."""
    (tmp_path / "key").write_bytes(EC_PARAMETERS + traditional(pki.server.key))
    assert served(pki, {"KEYFILE": str(tmp_path / "key")}) == pki.server.cert_der()


@pytest.mark.parametrize("kind", ["p384", "rsa2048", "rsa3072", "rsa4096", "ed25519"])
def test_kind_of_key(pki, tmp_path, kind):
    """Every kind of key serves on every version, in every form that it has; a kind that the backend has not is 96."""
    identity = make_identity("localhost", pki.ca, key=kind, names=["localhost"])
    (tmp_path / "cert").write_bytes(identity.cert_pem())
    for form in [name for name in KEY_FORMS if kind != "ed25519" or not name.startswith("traditional")]:
        (tmp_path / "key").write_bytes(KEY_FORMS[form](identity.key))
        env = {"KEYFILE": str(tmp_path / "key"), "CERTFILE": str(tmp_path / "cert")}
        if kind == "ed25519" and not ABLE.ed25519:
            code, message = refused_at_start(pki, env=env)
            assert code == 96
            assert f"CERTFILE {env['CERTFILE']}: keys of this type cannot be used" in message
            continue
        for version in VERSIONS if form == "PKCS#8 PEM" else [NEWEST]:
            assert served(pki, env, version) == identity.cert_der()


CERT_FORMS = {
    "PEM": lambda pem, der: pem,
    "DER": lambda pem, der: der,
    "CRLF": lambda pem, der: crlf(pem),
    "text before": lambda pem, der: TEXT + pem,
    "text around": lambda pem, der: TEXT + pem + TEXT,
    "no newline at the end": lambda pem, der: pem.rstrip(b"\n"),
}


@pytest.mark.parametrize("form", CERT_FORMS)
def test_form_of_certificate(pki, tmp_path, form):
    """A certificate is read in every form."""
    (tmp_path / "cert").write_bytes(CERT_FORMS[form](pki.server.cert_pem(), pki.server.cert_der()))
    assert served(pki, {"CERTFILE": str(tmp_path / "cert")}) == pki.server.cert_der()


@pytest.mark.parametrize("key_first", [True, False])
def test_key_inside_the_certificate_file(pki, tmp_path, key_first):
    """One file can be both, in either order."""
    parts = [pki.server.key_pem(), pki.server.chain_pem()]
    (tmp_path / "both").write_bytes(b"".join(parts if key_first else reversed(parts)))
    both = str(tmp_path / "both")
    assert served(pki, {"KEYFILE": both, "CERTFILE": both}) == pki.server.cert_der()


def big(n):
    """An extension of n bytes that nobody knows."""
    return [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\4\0" + bytes(n)), False)]


def test_chain_of_40_kb(pki, tmp_path, version):
    """A long chain is sent whole: a client that knows only the root verifies it."""
    middle = make_identity("Big CA", pki.ca, ca=True, extensions=big(30000))
    leaf = make_identity("localhost", middle, names=["localhost"], chain=True)
    env = dict(zip(("KEYFILE", "CERTFILE"), leaf.files(tmp_path, "leaf")))
    assert os.path.getsize(env["CERTFILE"]) > 40000
    assert served(pki, env, version) == leaf.cert_der()


@pytest.mark.parametrize("variable", ["KEYFILE", "CERTFILE", "CAFILE"])
def test_fifo_as_file(pki, tmp_path, variable):
    """A FIFO is read to its end."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    data = {"KEYFILE": pki.server.key_pem(), "CERTFILE": pki.server.chain_pem(), "CAFILE": pki.ca.cert_pem()}[variable]

    def write():
        with open(path, "wb", buffering=0) as f:
            f.write(data[:100])
            f.write(data[100:])

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    served(pki, {"CAFILE": pki.cafile, variable: path}, options=["-y"], identity=pki.client)
    writer.join(LIMIT)
    assert not writer.is_alive()


def test_inherited_descriptors_as_files(pki):
    """/dev/fd/n names an inherited file or pipe."""
    r, w = os.pipe()
    with open(pki.server.certfile) as cert, open(r):
        os.write(w, pki.server.key_pem())
        os.close(w)
        env = {"KEYFILE": f"/dev/fd/{r}", "CERTFILE": f"/dev/fd/{cert.fileno()}"}
        assert served(pki, env, pass_fds=[r, cert.fileno()]) == pki.server.cert_der()


def test_file_of_one_megabyte(pki, tmp_path):
    """Up to 1 MiB is no fault."""
    (tmp_path / "cert").write_bytes(pki.server.cert_pem().ljust(MEGABYTE, b"\n"))
    assert served(pki, {"CERTFILE": str(tmp_path / "cert")}) == pki.server.cert_der()


@pytest.mark.parametrize("start, word", [(-10, "expired"), (10, "not yet valid|not valid yet|not valid before")])
@pytest.mark.parametrize("options, warned", [([], True), (["-v0"], False)])
def test_own_certificate_out_of_its_time(pki, start, word, options, warned):
    """An own certificate that is expired or not valid yet warns, and serves."""
    server = pki.issue(f"out-of-time{start}", "localhost", names=["localhost"], start=start, days=5)
    with Tlsd(pki, ["echo", "served"], options, env={"KEYFILE": server.keyfile, "CERTFILE": server.certfile}) as tlsd:
        client = Client(tlsd.sock, pki, context=trusting()).handshake()
        assert client.read_all() == b"served\n"
        client.fin()
        assert tlsd.wait() == 0
        if warned:
            message = one_line(tlsd.stderr(), "warning")
            assert server.certfile in message and re.search(word, message)
        else:
            assert tlsd.stderr() == ""


# -- what is refused ---------------------------------------------------------------

def other_key(pki):
    return key_bytes(new_key())


def bad_second(pki):
    """A chain whose second certificate is none."""
    return pki.server.cert_pem() + b"-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n"


def bad_base64(pem):
    lines = pem.split(b"\n")
    lines[2] = lines[2][:10] + b"!*!" + lines[2][13:]
    return b"\n".join(lines)


JUNK = bytes(range(1, 256)) * 4
# (variable, what is wrong, the file's bytes, the reason in the message)
BAD = [
    ("KEYFILE", "empty", lambda pki: b"", "empty|no (private )?key"),
    ("KEYFILE", "blank", lambda pki: b"\n \n", "key"),
    ("KEYFILE", "text", lambda pki: TEXT, "key"),
    ("KEYFILE", "junk", lambda pki: JUNK, "key"),
    ("KEYFILE", "a certificate", lambda pki: pki.server.cert_pem(), "no (private )?key"),
    ("KEYFILE", "a certificate in DER", lambda pki: pki.server.cert_der(), "key"),
    ("KEYFILE", "a public key", lambda pki: pki.server.key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "key"),
    ("KEYFILE", "another key", other_key, "match|belong"),
    ("KEYFILE", "another kind of key", lambda pki: key_bytes(new_key("rsa2048")), "match|belong"),
    ("KEYFILE", "an Ed25519 key", lambda pki: key_bytes(new_key("ed25519")),
     "match|belong" if ABLE.ed25519 else "keys of this type cannot be used"),
    ("KEYFILE", "cut PEM", lambda pki: pki.server.key_pem()[:120], "."),
    ("KEYFILE", "no last line", lambda pki: pki.server.key_pem().rpartition(b"-----END")[0], "."),
    ("KEYFILE", "bad base64", lambda pki: bad_base64(pki.server.key_pem()), "."),
    ("KEYFILE", "cut DER", lambda pki: key_bytes(pki.server.key, Encoding.DER)[:-5], "."),
    ("KEYFILE", "PKCS#8 with a passphrase", lambda pki: pki.server.key_pem(
        encryption=BestAvailableEncryption(b"x")), "passphrase|encrypted|password"),
    ("KEYFILE", "SEC1 with a passphrase", lambda pki: pki.server.key_pem(
        TRADITIONAL, BestAvailableEncryption(b"x")), "passphrase|encrypted|password"),
    ("KEYFILE", "PKCS#8 DER with a passphrase", lambda pki: key_bytes(
        pki.server.key, Encoding.DER, PKCS8, BestAvailableEncryption(b"x")), "."),
    ("KEYFILE", "2 MiB", lambda pki: pki.server.key_pem().ljust(2 * MEGABYTE, b"\n"), "large|big|long|MiB|bytes"),
    ("CERTFILE", "empty", lambda pki: b"", "empty|no certificate"),
    ("CERTFILE", "text", lambda pki: TEXT, "certificate"),
    ("CERTFILE", "junk", lambda pki: JUNK, "certificate"),
    ("CERTFILE", "a key", lambda pki: pki.server.key_pem(), "no certificate"),
    ("CERTFILE", "another certificate", lambda pki: pki.client.cert_pem(), "match|belong"),
    ("CERTFILE", "leaf last", lambda pki: pki.ca.cert_pem() + pki.server.cert_pem(), "match|belong"),
    ("CERTFILE", "junk after the leaf", bad_second, "."),
    ("CERTFILE", "cut PEM", lambda pki: pki.server.cert_pem()[:300], "."),
    ("CERTFILE", "bad base64", lambda pki: bad_base64(pki.server.cert_pem()), "."),
    ("CERTFILE", "cut DER", lambda pki: pki.server.cert_der()[:-5], "."),
    ("CERTFILE", "bytes after DER", lambda pki: pki.server.cert_der() + b"x", "."),
    ("CERTFILE", "2 MiB", lambda pki: pki.server.cert_pem().ljust(2 * MEGABYTE, b"\n"), "large|big|long|MiB|bytes"),
    ("CAFILE", "empty", lambda pki: b"", "empty|no (certificate|trust anchor)"),
    ("CAFILE", "text", lambda pki: TEXT, "no (certificate|trust anchor)"),
    ("CAFILE", "a key", lambda pki: pki.server.key_pem(), "no (certificate|trust anchor)"),
    ("CAFILE", "cut PEM", lambda pki: pki.ca.cert_pem()[:300], "."),
    ("CAFILE", "bad base64", lambda pki: bad_base64(pki.ca.cert_pem()), "."),
    ("CAFILE", "junk after a good one", lambda pki: pki.ca.cert_pem() + bad_second(pki), "."),
    ("CAFILE", "2 MiB", lambda pki: pki.ca.cert_pem().ljust(2 * MEGABYTE, b"\n"), "large|big|long|MiB|bytes"),
]


def refused_file(pki, variable, path, **kw):
    """The exit code when `variable` is `path`, and the reason: the part of the message after the file's name."""
    code, message = refused_at_start(pki, ["-y"], env={"CAFILE": pki.cafile, variable: str(path)}, **kw)
    assert str(path) in message, message
    return code, message


@pytest.mark.parametrize("variable, content, reason", [(v, c, r) for v, _, c, r in BAD],
                         ids=[f"{v}-{what}" for v, what, _, _ in BAD])
def test_bad_file(pki, tmp_path, variable, content, reason):
    """What cannot be parsed, or does not belong together, is 96 with the file's name and the reason."""
    path = tmp_path / "faulty"
    path.write_bytes(content(pki))
    code, message = refused_file(pki, variable, path)
    assert code == 96
    assert re.search(reason, message.replace(str(path), "")), message


@pytest.mark.parametrize("variable", ["KEYFILE", "CERTFILE", "CAFILE"])
@pytest.mark.parametrize("what", ["missing", "directory", "dangling", "loop", "socket", "below a file", "long name"])
def test_unreadable_file(pki, tmp_path, variable, what):
    """A file that cannot be opened or read is 111 with its name and the reason."""
    path = tmp_path / "faulty"
    if what == "directory":
        path.mkdir()
    elif what == "dangling":
        path.symlink_to(tmp_path / "nothing")
    elif what == "loop":
        path.symlink_to(path)
    elif what == "socket":
        unix_socket(path)
    elif what == "below a file":
        path = pki.write("file", b"") + "/faulty"
    elif what == "long name":
        path = tmp_path / ("x" * 300)
    code, message = refused_file(pki, variable, path)
    assert code == 111
    assert len(message.rpartition(str(path))[2]) > 8, "no reason is given"


def unix_socket(path):
    """A file that nobody, root included, can open."""
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path.name)
    os.fchdir(here)
    os.close(here)


@pytest.mark.parametrize("variable", ["KEYFILE", "CERTFILE", "CAFILE"])
def test_file_without_permission(pki, variable):
    """A file that we may not read is 111."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        paths = {"KEYFILE": pki.server.key_pem(), "CERTFILE": pki.server.cert_pem(), "CAFILE": pki.ca.cert_pem()}
        for name, data in paths.items():
            paths[name] = os.path.join(folder, name)
            with open(paths[name], "wb") as f:
                f.write(data)
            os.chmod(paths[name], 0 if name == variable else 0o644)

        code, message = refused_at_start(pki, ["-y"], env=paths, preexec=ordinary)
        assert code == 111 and paths[variable] in message and "ermission" in message


def test_fifo_of_2_mib(pki, tmp_path):
    """Too much is too much from a FIFO too, and it is not read for ever."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)

    def write():
        try:
            with open(path, "wb", buffering=0) as f:
                while True:
                    f.write(b"\n" * 65536)
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    code, _ = refused_file(pki, "KEYFILE", path)
    assert code == 96
    writer.join(LIMIT)
    assert not writer.is_alive()


def test_no_passphrase_is_asked_for(pki, tmp_path):
    """A key with a passphrase never leads to a prompt, not even with a terminal at hand."""
    path = tmp_path / "key"
    path.write_bytes(pki.server.key_pem(encryption=BestAvailableEncryption(b"x")))
    master, slave = pty.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    try:
        code, _ = refused_file(pki, "KEYFILE", path, preexec=take_terminal, pass_fds=[slave])
        assert code == 96
        os.set_blocking(master, False)
        with pytest.raises(BlockingIOError):
            os.read(master, 1)
    finally:
        os.close(slave)
        os.close(master)


def test_key_of_1024_bits(pki, tmp_path):
    """A key that the library holds to be too weak is refused at start, not at the first client."""
    weak = make_identity("localhost", pki.ca, key="rsa1024")
    keyfile, certfile = weak.files(tmp_path, "weak")
    code, message = refused_at_start(pki, env={"KEYFILE": keyfile, "CERTFILE": certfile})
    assert code == 96 and (certfile in message or keyfile in message)


# -- CADIR ---------------------------------------------------------------------------

@pytest.fixture
def cadir(pki, tmp_path):
    """A folder with the CA in it, under a name without any hash."""
    folder = tmp_path / "anchors"
    folder.mkdir()
    (folder / "our own CA").write_bytes(pki.ca.cert_pem())
    return folder


def verified(pki, folder, options=(), identity=None, **env):
    """prog's word on the client, and what was written to stderr, when CADIR is `folder`."""
    env["CADIR"] = str(folder)
    prog = ["sh", "-c", "echo $SSL_PEER_CERT_SUBJECT"]
    with session(pki, prog, ["-y", *options], identity=identity or pki.client, env=env) as (tlsd, client):
        subject = client.read_all().decode()
        client.fin()
        assert tlsd.wait() == 0
        return subject, tlsd.stderr()


def stranger(pki, folder):
    """A client of another CA, whose certificate is written to `folder`/other."""
    ca = make_identity("Other CA", ca=True)
    (folder / "other").write_bytes(ca.cert_pem())
    return pki.issue("stranger", "mallory", ca)


def test_cadir_takes_any_name(pki, cadir):
    """No hashed names are needed."""
    assert verified(pki, cadir) == ("CN=alice\n", "")


def test_cadir_with_several_files(pki, cadir):
    """Every file counts."""
    other = stranger(pki, cadir)
    assert verified(pki, cadir) == ("CN=alice\n", "")
    assert verified(pki, cadir, identity=other) == ("CN=mallory\n", "")


def test_cadir_with_several_in_one_file(pki, cadir):
    """A file may hold several, with text between."""
    other = stranger(pki, cadir)
    both = (cadir / "other").read_bytes() + TEXT + (cadir / "our own CA").read_bytes()
    for path in cadir.iterdir():
        path.unlink()
    (cadir / "both.pem").write_bytes(both)
    assert verified(pki, cadir) == ("CN=alice\n", "")
    assert verified(pki, cadir, identity=other) == ("CN=mallory\n", "")


def test_cadir_with_der(pki, cadir):
    """A file may be DER."""
    (cadir / "our own CA").write_bytes(pki.ca.cert.public_bytes(Encoding.DER))
    assert verified(pki, cadir) == ("CN=alice\n", "")


def test_cadir_with_links(pki, cadir, tmp_path):
    """Links are followed, as in a folder that was hashed."""
    (cadir / "our own CA").rename(tmp_path / "elsewhere")
    (cadir / "0123abcd.0").symlink_to("../elsewhere")
    assert verified(pki, cadir) == ("CN=alice\n", "")


def test_cadir_skips_dot_files_and_folders(pki, cadir):
    """Dot files and folders are skipped without a word."""
    (cadir / ".junk").write_bytes(JUNK)
    (cadir / ".socket").symlink_to("/nonexistent")
    (cadir / "folder").mkdir()
    (cadir / "folder" / "broken").write_bytes(pki.ca.cert_pem()[:300])
    (cadir / "link to a folder").symlink_to("folder")
    assert verified(pki, cadir) == ("CN=alice\n", "")


def test_anchor_in_a_folder_of_cadir_is_none(pki, cadir):
    """A folder inside CADIR is not searched."""
    (cadir / "folder").mkdir()
    other = stranger(pki, cadir / "folder")
    with Tlsd(pki, ["true"], ["-y"], env={"CADIR": str(cadir)}) as tlsd:
        assert "ALERT" in refusal(Client(tlsd.sock, pki, identity=other))
        tlsd.sock.close()
        assert tlsd.wait() == 98


@pytest.mark.parametrize("name, make", [
    ("dangling", lambda path: path.symlink_to("nothing")), ("empty", lambda path: path.write_bytes(b"")),
    ("README", lambda path: path.write_bytes(TEXT)), ("key.pem", lambda path: path.write_bytes(key_bytes(new_key()))),
])
@pytest.mark.parametrize("options, warned", [([], True), (["-v0"], False)])
def test_cadir_warns(pki, cadir, name, make, options, warned):
    """A dangling link or a file without a certificate warns, from -v1 on, and does no harm."""
    make(cadir / name)
    subject, log = verified(pki, cadir, options)
    assert subject == "CN=alice\n"
    assert (str(cadir / name) in one_line(log, "warning")) if warned else log == ""


@pytest.mark.parametrize("name, make, code", [
    ("cut.pem", lambda pki, path: path.write_bytes(pki.ca.cert_pem()[:300]), 96),
    ("bad.pem", lambda pki, path: path.write_bytes(bad_base64(pki.ca.cert_pem())), 96),
    ("half.pem", lambda pki, path: path.write_bytes(pki.ca.cert_pem() + bad_second(pki)), 96),
    ("cut.der", lambda pki, path: path.write_bytes(pki.ca.cert.public_bytes(Encoding.DER)[:-5]), 96),
    ("large", lambda pki, path: path.write_bytes(pki.ca.cert_pem().ljust(2 * MEGABYTE, b"\n")), 96),
    ("socket", lambda pki, path: unix_socket(path), 111),
    ("loop", lambda pki, path: path.symlink_to(path), 111),
])
def test_bad_file_in_cadir(pki, cadir, name, make, code):
    """A file that does not parse is 96, one that cannot be read 111, by its name."""
    make(pki, cadir / name)
    found, message = refused_at_start(pki, ["-Y"], env={"CADIR": str(cadir)})
    assert found == code and str(cadir / name) in message


@pytest.mark.parametrize("what, code", [("empty", 96), ("dot files only", 96), ("missing", 111), ("a file", 111)])
def test_bad_cadir(pki, tmp_path, what, code):
    """A CADIR without any anchor is 96, one that cannot be read 111."""
    path = tmp_path / "anchors"
    if what == "a file":
        path.write_bytes(pki.ca.cert_pem())
    elif what != "missing":
        path.mkdir()
    if what == "dot files only":
        (path / ".ca").write_bytes(pki.ca.cert_pem())
    found, message = refused_at_start(pki, ["-y"], env={"CADIR": str(path)})
    assert found == code and str(path) in message


def test_cadir_wins_over_cafile(pki, cadir, tmp_path):
    """With both, CAFILE is not even read."""
    assert verified(pki, cadir, CAFILE="/nonexistent") == ("CN=alice\n", "")
    (tmp_path / "folder").mkdir()
    stranger(pki, tmp_path / "folder")
    with Tlsd(pki, ["true"], ["-y"], env={"CADIR": str(tmp_path / "folder"), "CAFILE": pki.cafile}) as tlsd:
        assert "ALERT" in refusal(Client(tlsd.sock, pki, identity=pki.client))
        tlsd.sock.close()
        assert tlsd.wait() == 98


def test_cafile_with_a_whole_set(pki, tmp_path):
    """Every certificate in CAFILE is an anchor, and text between them does not matter."""
    other = stranger(pki, tmp_path)
    path = tmp_path / "set.pem"
    path.write_bytes(TEXT + crlf(pki.ca.cert_pem()) + TEXT + (tmp_path / "other").read_bytes())
    for identity, subject in (pki.client, b"CN=alice\n"), (other, b"CN=mallory\n"):
        prog = ["sh", "-c", "echo $SSL_PEER_CERT_SUBJECT"]
        with session(pki, prog, ["-y"], identity=identity, env={"CAFILE": str(path)}) as (tlsd, client):
            assert client.read_all() == subject
            client.fin()
            assert tlsd.wait() == 0

"""What prog learns from its environment, and what the program takes from its own."""

import contextlib
import datetime
import glob
import hashlib
import os
import random
import ssl
import subprocess
import types

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness import (Client, NEWEST, ROOT, Tlsd, connecting, der, make_identity, needs_tls13, new_key, one_line, python,
                     refusal, refused_at_start, session)

REMOVED = ["KEYFILE", "CERTFILE", "CADIR", "CAFILE", "TLS_UID", "TLS_GID", "KEYFILE:x", "CERTFILE:x",
           "KEYFILE:www.example.org", "CERTFILE:*", "KEYFILE:"]
NOT_OURS = ["KEYFILES", "XKEYFILE", "KEYFILE_x", "CERTFILE.x", "CADIRS", "TLS_UIDS", "TLS_", "SSL_", "SSL_CIPHERS",
            "SSL_CERT_FILE", "SSL_CERT_DIR", "keyfile", "TCPREMOTEIP", "OPENSSL_CONF", "OPENSSL_MODULES"]
WRITTEN = ["SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI_SERVERNAME", "SSL_PEER_CERT_HASH", "SSL_PEER_CERT_SUBJECT"]


def split(data):
    """What `env -0` printed, as a dictionary."""
    pairs = [pair.decode("utf-8", "surrogateescape").partition("=") for pair in data.split(b"\0")[:-1]]
    assert len({name for name, _, _ in pairs}) == len(pairs), "a variable occurs twice"
    return {name: value for name, _, value in pairs}


def environment(pki, options=(), **kw):
    """prog's environment."""
    with session(pki, ["env", "-0"], options, **kw) as (tlsd, client):
        found = split(client.read_all())
        client.fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""
    return found


@pytest.fixture
def ours(pki, tmp_path):
    """A value for each variable that the program reads."""
    values = {name: pki.server.keyfile if name.startswith("KEY") else pki.server.certfile for name in REMOVED}
    return values | {"CADIR": str(tmp_path), "CAFILE": pki.cafile, "TLS_UID": "65534", "TLS_GID": "65534"}


# -- removed and kept ------------------------------------------------------------

@pytest.mark.parametrize("options", [[], ["-z"]])
def test_our_variables_are_removed(pki, ours, options):
    """By default prog sees none of the variables that the program reads, used or not."""
    found = environment(pki, options, env=ours)
    assert not set(REMOVED) & set(found)


def test_our_variables_are_kept(pki, ours):
    """With -Z prog sees them as they were."""
    found = environment(pki, ["-Z"], env=ours)
    assert {name: found.get(name) for name in REMOVED} == ours


@pytest.mark.parametrize("options", [[], ["-Z"]])
def test_other_variables_are_untouched(pki, options):
    """What is not ours reaches prog as it was, whatever its name resembles."""
    others = {name: f"value of {name}" for name in NOT_OURS} | {
        "EMPTY": "", "LINES": "a\nb", "BYTES": "\udcff\x1b", "EQUALS": "=a=b"}
    found = environment(pki, options, env=others)
    assert {name: found.get(name) for name in others} == others


@pytest.mark.parametrize("options", [[], ["-Z"]])
def test_ssl_variables_are_never_inherited(pki, options):
    """The five variables are written or removed, kept variables or not."""
    found = environment(pki, options, env={name: "inherited" for name in WRITTEN}, sni=None, version=NEWEST)
    assert found["SSL_PROTOCOL"] == f"TLSv{NEWEST}" and found["SSL_CIPHER"].startswith("TLS_")
    assert not set(WRITTEN[2:]) & set(found)


@pytest.mark.parametrize("options", [[], ["-Y"], ["-YZ"]])
def test_no_peer_variables_without_a_certificate(pki, options):
    """Without a verified certificate there is no peer, even when one was inherited."""
    env = {"CAFILE": pki.cafile, "SSL_PEER_CERT_HASH": "SHA256:00", "SSL_PEER_CERT_SUBJECT": "CN=root"}
    found = environment(pki, options, env=env)
    assert "SSL_PEER_CERT_HASH" not in found and "SSL_PEER_CERT_SUBJECT" not in found


def a_hundred_keys():
    """The variables of a hundred other names, their neighbours between them: (ours, all)."""
    ours, found = {}, {}
    for i in range(100):
        pair = {f"KEYFILE:name{i}": f"/nonexistent/key{i}", f"CERTFILE:name{i}": f"/nonexistent/cert{i}"}
        ours |= pair
        found |= {**pair, f"OTHER{i}": str(i)}
    return ours, found


@pytest.mark.parametrize("options, kept", [([], False), (["-Z"], True)])
def test_a_hundred_key_variables(pki, options, kept):
    """A hundred KEYFILE:x and CERTFILE:x are removed, or under -Z kept, and their neighbours stay."""
    ours, env = a_hundred_keys()
    found = environment(pki, options, env=env)
    assert {name: found.get(name) for name in env} == {
        name: value if kept or name not in ours else None for name, value in env.items()}


LONG_LISTS = {
    "100 words": ["".join(random.Random(n).choices("abcdefghij -=", k=1000)) for n in range(100)],
    "one word": ["x" * 100_000],
    "100,000 words": ["x"] * 100_000,
    "no letters": [""] * 100_000,
}


@pytest.mark.both_roles
@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize("words", LONG_LISTS)
def test_an_argument_list_of_100_kb(pki, tmp_path, words, script):
    """A long argument list reaches prog whole, a script that names no interpreter included."""
    code = "printf '%s\\n' \"$@\" | sha256sum"
    prog = ["sh", "-c", code, "sh"]
    if script:
        (tmp_path / "prog").write_text(code + "\n")
        (tmp_path / "prog").chmod(0o755)
        prog = [str(tmp_path / "prog")]
    expected = hashlib.sha256("".join(word + "\n" for word in LONG_LISTS[words]).encode()).hexdigest()
    with session(pki, [*prog, *LONG_LISTS[words]]) as (tlsd, client):
        assert client.read_all().decode().split()[0] == expected
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


def test_a_prog_whose_name_is_100_kb(pki):
    """There is none: 111, in one line that does not go on for ever."""
    with session(pki, ["/" + "x" * 100_000]) as (tlsd, client):
        assert client.read_all() == b""
        client.fin()
        assert tlsd.wait() == 111
        assert "cannot run /xxxx" in tlsd.stderr() and len(one_line(tlsd.stderr())) < 1500


# -- protocol and cipher -----------------------------------------------------------

@pytest.fixture(scope="module")
def rsa_server(pki):
    return pki.issue("rsa-server", "localhost", key="rsa2048", names=["localhost"])


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("bulk, iana", [("AES128-GCM-SHA256", "AES_128_GCM_SHA256"),
                                        ("AES256-GCM-SHA384", "AES_256_GCM_SHA384"),
                                        ("CHACHA20-POLY1305", "CHACHA20_POLY1305_SHA256")])
def test_cipher_on_tls12(pki, rsa_server, kind, bulk, iana):
    """SSL_CIPHER is the IANA name of what was negotiated."""
    server, name = (pki.server, "ECDSA") if kind == "ec" else (rsa_server, "RSA")
    env = {"KEYFILE": server.keyfile, "CERTFILE": server.certfile}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.cafile)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"ECDHE-{name}-{bulk}")
    with Tlsd(pki, ["env", "-0"], env=env) as tlsd:
        client = Client(tlsd.sock, pki, context=context).handshake()
        found = split(client.read_all())
        client.fin()
        assert tlsd.wait() == 0
    assert found["SSL_PROTOCOL"] == "TLSv1.2"
    assert found["SSL_CIPHER"] == f"TLS_ECDHE_{name}_WITH_{iana}"


@needs_tls13
@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_cipher_on_tls13(pki, suite):
    """SSL_CIPHER is the suite's name on TLS 1.3."""
    found, _ = s_client(pki, ["-ciphersuites", suite])
    assert (found["SSL_PROTOCOL"], found["SSL_CIPHER"]) == ("TLSv1.3", suite)


# -- the server name -----------------------------------------------------------------

def s_client(pki, arguments, options=()):
    """prog's environment when `openssl s_client` connects, and what the program logged."""
    command = ["openssl", "s_client", "-quiet", "-connect", "127.0.0.1:{port}", *arguments]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with connecting(command, **quiet) as (proc, sock):
        with Tlsd(pki, ["env", "-0"], ["-S", *options], stdin=sock, stdout=sock) as tlsd:
            sock.close()
            found = split(proc.communicate()[0])
            assert tlsd.wait() == 0
            return found, tlsd.stderr()


LABEL = "a" * 63
VALID = ["localhost", "Example.ORG", "a", "A_b.example", "1a.example", "xn--bcher-kva.example", "a--b.c-d",
         f"{LABEL}.example", ".".join([LABEL, LABEL, LABEL, "b" * 61])]
INVALID = ["a/../../etc/passwd", "a/../", "a/b", "a..", "a..b", "a\nb", "a\r\nb", "a\tb", "a\x1b[31mb", "a\x7fb", "$(id)",
           "`id`", "a b", " ", "a;b", "a=b", 'a"b', "a'b", "a\\b", "a:b", "%s%n", "*.example.org", "-a.example",
           "a-.example", "localhost.", "a" * 64, "a" * 255, ".".join([LABEL, LABEL, LABEL, "b" * 62]), "1.2.3", "1234"]


def log_of(pki, name, version):
    """prog's environment and the log of a connection by Python's client, which sends ASCII as it is."""
    with session(pki, ["env", "-0"], ["-v3"], version, sni=name.encode()) as (tlsd, client):
        found = split(client.read_all())
        client.fin()
        assert tlsd.wait() == 0
        return found, tlsd.stderr()


@pytest.mark.parametrize("name", VALID)
def test_valid_server_name(pki, version, name):
    """A DNS name reaches prog and the log in lower case."""
    found, log = log_of(pki, name, version)
    assert found["SSL_TLS_SNI_SERVERNAME"] == name.lower()
    assert log.count(f" sni={name.lower()} ") == 1


@pytest.mark.parametrize("name", INVALID, ids=ascii)
def test_invalid_server_name(pki, version, name):
    """What is no DNS name reaches neither prog nor the log, and the connection works."""
    found, log = log_of(pki, name, version)
    assert "SSL_TLS_SNI_SERVERNAME" not in found
    assert " sni=" not in log
    assert all(line.startswith("s6-tlsd: ") and line.isprintable() for line in log.split("\n")[:-1])
    assert len(name) < 5 or name not in log


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", ".example.org", "../../etc/passwd", "..",
                                  "m\u00fcnchen.example", "\u2028", "\udcff\udcfe"], ids=ascii)
def test_invalid_server_name_by_another_client(pki, name):
    """What Python's client will not send, an address, a dot in front or bytes outside ASCII, shows no more."""
    found, log = s_client(pki, ["-servername", name], ["-v3"])
    assert found["SSL_PROTOCOL"] == f"TLSv{NEWEST}"
    assert "SSL_TLS_SNI_SERVERNAME" not in found
    assert " sni=" not in log and log.isascii()


@pytest.mark.parametrize("name", [b"a\0b", b"localhost\0", b"", b"a" * 256])
def test_server_name_that_is_none(pki, name):
    """A name that RFC 6066 forbids may end the handshake, but never shows."""
    class Crafty(Client):
        def flush(self):
            placeholder = b"placeholder.example"
            data = self.outbound.read()
            if placeholder in data:
                data = with_server_name(data, placeholder, name)
            if data:
                self.sock.sendall(data)

    with Tlsd(pki, ["true"], ["-v3"]) as tlsd:
        assert refusal(Crafty(tlsd.sock, pki, sni="placeholder.example")).startswith("alert: ")
        tlsd.sock.close()
        assert tlsd.wait() == 98
        log = tlsd.stderr()
    assert " sni=" not in log and "\0" not in log and "aaaa" not in log
    assert all(line.startswith("s6-tlsd: ") and line.isprintable() for line in log.split("\n")[:-1])


def with_server_name(hello, old, new):
    """The record of a ClientHello with another server name, its five lengths put right."""
    at = hello.index(old)
    delta = len(new) - len(old)
    extensions = 5 + 4 + 34
    extensions += 1 + hello[extensions]
    extensions += 2 + int.from_bytes(hello[extensions:extensions + 2], "big")
    extensions += 1 + hello[extensions]
    out = bytearray(hello)
    for offset, size in (3, 2), (6, 3), (extensions, 2), (at - 7, 2), (at - 5, 2), (at - 2, 2):
        value = int.from_bytes(hello[offset:offset + size], "big") + delta
        out[offset:offset + size] = value.to_bytes(size, "big")
    out[at:at + len(old)] = new
    return bytes(out)


# -- the peer's certificate ------------------------------------------------------------

CN, SN, C, L, ST, STREET, O, OU = ("2.5.4." + str(n) for n in (3, 4, 6, 7, 8, 9, 10, 11))
UID, DC, EMAIL = "0.9.2342.19200300.100.1.1", "0.9.2342.19200300.100.1.25", "1.2.840.113549.1.9.1"
UTF8, NUMERIC, PRINTABLE, T61, IA5, UNIVERSAL, BMP = 12, 18, 19, 20, 22, 28, 30
KEYWORDS = {CN: "CN", C: "C", L: "L", ST: "ST", STREET: "STREET", O: "O", OU: "OU", UID: "UID", DC: "DC"}


def oid_der(text):
    """An OBJECT IDENTIFIER."""
    first, second, *rest = map(int, text.split("."))
    body = b""
    for arc in [first * 40 + second, *rest]:
        octets = [arc & 0x7f]
        while arc := arc >> 7:
            octets.append(arc & 0x7f | 0x80)
        body += bytes(reversed(octets))
    return der(6, body)


def name_der(rdns):
    """A Name from a list of RDNs, each a list of (oid, tag, bytes)."""
    return der(0x30, *(der(0x31, *(der(0x30, oid_der(oid), der(tag, value)) for oid, tag, value in rdn))
                       for rdn in rdns))


def printed(rdns):
    """RFC 4514 over the same list: the printer to compare with."""
    def value_of(oid, tag, value):
        coding = {T61: None, UNIVERSAL: "utf-32-be", BMP: "utf-16-be"}.get(tag, "utf-8")
        if oid not in KEYWORDS or coding is None:
            return "#" + der(tag, value).hex().upper()
        out = ""
        characters = value.decode(coding)
        for i, c in enumerate(characters):
            edge = i == 0 and c in " #" or i == len(characters) - 1 and c == " "
            if " " <= c <= "~":
                out += "\\" + c if edge or c in '"+,;<>\\' else c
            else:
                out += "".join(f"\\{byte:02X}" for byte in c.encode())
        return out
    return ",".join("+".join(f"{KEYWORDS.get(oid, oid)}={value_of(oid, tag, value)}" for oid, tag, value in rdn)
                    for rdn in reversed(rdns))


class Forge:
    """Client certificates with any subject at all, signed by the CA."""

    def __init__(self, pki, folder):
        self.pki, self.folder, self.count, self.key = pki, folder, 0, new_key()
        self.keyfile = str(folder / "forged.key")
        with open(self.keyfile, "wb") as f:
            f.write(self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))

    def __call__(self, subject):
        self.count += 1
        now = datetime.datetime.utcnow()
        times = [der(23, (now + datetime.timedelta(days=n)).strftime("%y%m%d%H%M%SZ").encode()) for n in (-1, 30)]
        algorithm = der(0x30, oid_der("1.2.840.10045.4.3.2"))
        tbs = der(0x30, der(0xa0, der(2, b"\2")), der(2, b"\1", self.count.to_bytes(4, "big")), algorithm,
                  self.pki.ca.cert.subject.public_bytes(), der(0x30, *times), subject,
                  self.key.public_key().public_bytes(serialization.Encoding.DER,
                                                     serialization.PublicFormat.SubjectPublicKeyInfo))
        signature = self.pki.ca.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
        certificate = der(0x30, tbs, algorithm, der(3, b"\0", signature))
        path = self.folder / f"forged{self.count}.pem"
        path.write_text(ssl.DER_cert_to_PEM_cert(certificate))
        return types.SimpleNamespace(certfile=str(path), keyfile=self.keyfile, der=certificate)


@pytest.fixture(scope="module")
def forge(pki, tmp_path_factory):
    return Forge(pki, tmp_path_factory.mktemp("forge"))


def cn(text):
    return [(CN, UTF8, text)]


GOLDEN = {
    "plain": ([cn(b"alice")], "CN=alice"),
    "order": ([[(O, UTF8, b"Acme")], cn(b"alice")], "CN=alice,O=Acme"),
    "nine keywords": ([[(oid, PRINTABLE, b"x")] for oid in KEYWORDS],
                      "DC=x,UID=x,OU=x,O=x,STREET=x,ST=x,L=x,C=x,CN=x"),
    "other types": ([[(EMAIL, IA5, b"a@b")], [(SN, UTF8, b"x")], cn(b"alice")],
                    "CN=alice,2.5.4.4=#0C0178,1.2.840.113549.1.9.1=#1603614062"),
    "large OID": ([[("2.25.340282366920938463463374607431768211455", UTF8, b"x")]],
                  "2.25.340282366920938463463374607431768211455=#0C0178"),
    "multi-valued": ([[(O, UTF8, b"Acme")], [(CN, UTF8, b"alice"), (UID, UTF8, b"7")]], "CN=alice+UID=7,O=Acme"),
    "slash": ([cn(b"x/CN=admin")], "CN=x/CN=admin"),
    "comma": ([cn(b"alice,O=Acme")], "CN=alice\\,O=Acme"),
    "plus": ([cn(b"alice+UID=0")], "CN=alice\\+UID=0"),
    "specials": ([cn(b'"+,;<>\\=')], 'CN=\\"\\+\\,\\;\\<\\>\\\\='),
    "backslash before comma": ([cn(b"a\\,O=b")], "CN=a\\\\\\,O=b"),
    "spaces and number sign": ([cn(b" a # b "), cn(b"#x"), cn(b" "), cn(b"  ")],
                               "CN=\\ \\ ,CN=\\ ,CN=\\#x,CN=\\ a # b\\ "),
    "newline": ([cn(b"a\nO=Acme\r")], "CN=a\\0AO=Acme\\0D"),
    "ESC and DEL": ([cn(b"\x1b[31m\x7f")], "CN=\\1B[31m\\7F"),
    "NUL": ([cn(b"alice\0.evil")], "CN=alice\\00.evil"),
    "UTF-8": ([cn("J\u00fcrgen \U0001f600".encode())], "CN=J\\C3\\BCrgen \\F0\\9F\\98\\80"),
    "BMPString": ([[(CN, BMP, "J\u00fc\u20ac,".encode("utf-16-be"))]], "CN=J\\C3\\BC\\E2\\82\\AC\\,"),
    "UniversalString": ([[(CN, UNIVERSAL, "\u00fcx".encode("utf-32-be"))]], "CN=\\C3\\BCx"),
    "T61String": ([[(CN, T61, b"alice\xfc")]], "CN=#1406616C696365FC"),
    "other strings": ([[(CN, PRINTABLE, b"a")], [(CN, IA5, b"b")], [(CN, NUMERIC, b"1")]], "CN=1,CN=b,CN=a"),
    "70 units": ([[(OU, UTF8, b"unit number %d" % i)] for i in range(70)],
                 ",".join(f"OU=unit number {i}" for i in reversed(range(70)))),
    "duplicates": ([cn(b"alice"), cn(b"alice")], "CN=alice,CN=alice"),
    "empty value": ([cn(b""), [(O, UTF8, b"")]], "O=,CN="),
    "empty": ([], ""),
    "long": ([cn(b"x" * 8000)], "CN=" + "x" * 8000),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_peer_subject(pki, forge, case):
    """The subject is printed as RFC 4514 says, unambiguous and printable whatever it holds."""
    rdns, expected = GOLDEN[case]
    assert printed(rdns) == expected
    identity = forge(name_der(rdns))
    found = environment(pki, ["-y"], identity=identity, env={"CAFILE": pki.cafile})
    assert found.get("SSL_PEER_CERT_SUBJECT") == expected
    assert found["SSL_PEER_CERT_HASH"] == "SHA256:" + hashlib.sha256(identity.der).hexdigest()


def test_peer_subject_like_the_other_printer(pki, forge):
    """Random subjects are printed as an independent printer does it."""
    rng = random.Random(4514)
    letters = 'ab=/ #,+"\\;<>\0\n\x1b\x7f\u00fc\u20ac\U0001f600'
    for _ in range(8):
        rdns = []
        for _ in range(rng.randrange(1, 6)):
            rdn = []
            for _ in range(rng.choice([1, 1, 1, 2])):
                tag = rng.choice([UTF8, BMP, UNIVERSAL, T61])
                coding = {T61: "latin-1", BMP: "utf-16-be", UNIVERSAL: "utf-32-be"}.get(tag, "utf-8")
                text = "".join(rng.choices(letters[:-2] if tag == T61 else letters, k=rng.randrange(1, 9)))
                rdn.append((rng.choice([*KEYWORDS, EMAIL, SN]), tag, text.encode(coding)))
            rdns.append(rdn)
        found = environment(pki, ["-y"], identity=forge(name_der(rdns)), env={"CAFILE": pki.cafile})
        assert found["SSL_PEER_CERT_SUBJECT"] == printed(rdns)


@pytest.mark.parametrize("rdns", [[cn(b"x" * 60000)], [[(OU, UTF8, b"\0" * 500)] for _ in range(70)]],
                         ids=["one value", "70 units"])
def test_huge_peer_subject(pki, forge, rdns):
    """A subject that does not fit is a fatal error: it is never cut, and never missing."""
    with Tlsd(pki, ["env", "-0"], ["-y"], env={"CAFILE": pki.cafile}) as tlsd:
        client = Client(tlsd.sock, pki, identity=forge(name_der(rdns)))
        try:
            found = split(client.handshake().read_all())
        except (ssl.SSLError, ConnectionError):
            found = {}
        client.close()
        if found:
            assert found["SSL_PEER_CERT_SUBJECT"] == printed(rdns)
            assert tlsd.wait() == 0
        else:
            assert tlsd.wait() in (98, 111)
            one_line(tlsd.stderr())


@pytest.mark.parametrize("options", ["-Y", "-y"])
def test_peer_hash_and_subject(pki, version, options):
    """A verified certificate gives its hash and subject, on both versions and with either option."""
    found = environment(pki, [options], identity=pki.client, env={"CAFILE": pki.cafile}, version=version)
    assert found["SSL_PEER_CERT_HASH"] == "SHA256:" + hashlib.sha256(pki.client.cert_der()).hexdigest()
    assert found["SSL_PEER_CERT_SUBJECT"] == "CN=alice"


def test_peer_hash_is_of_the_leaf(pki):
    """With a chain the hash and the subject are the leaf's."""
    middle = make_identity("Middle CA", pki.ca, ca=True)
    leaf = pki.issue("chained", "bob", middle, chain=True)
    found = environment(pki, ["-y"], identity=leaf, env={"CAFILE": pki.cafile})
    assert found["SSL_PEER_CERT_HASH"] == "SHA256:" + hashlib.sha256(leaf.cert_der()).hexdigest()
    assert found["SSL_PEER_CERT_SUBJECT"] == "CN=bob"


def test_certificate_that_nobody_asked_for(pki):
    """Without -Y or -y the client is not asked, and prog learns nothing of it."""
    found = environment(pki, identity=pki.client, env={"CAFILE": pki.cafile})
    assert "SSL_PEER_CERT_HASH" not in found and "SSL_PEER_CERT_SUBJECT" not in found


# -- variables that are needed -----------------------------------------------------------

@pytest.mark.parametrize("options, env, names", [
    ([], {"KEYFILE": None}, ["KEYFILE"]), ([], {"CERTFILE": None}, ["CERTFILE"]),
    ([], {"KEYFILE": ""}, ["KEYFILE"]), ([], {"CERTFILE": ""}, ["CERTFILE"]),
    ([], {"KEYFILE": None, "KEYFILE:x": "/nonexistent"}, ["KEYFILE"]),
    (["-y"], {}, ["CADIR", "CAFILE"]), (["-Y"], {}, ["CADIR", "CAFILE"]),
    (["-y"], {"CADIRS": "/", "SSL_CERT_DIR": "/etc/ssl/certs"}, ["CADIR", "CAFILE"]),
], ids=str)
def test_missing_variable(pki, options, env, names):
    """A variable that is needed and unset is named: 100."""
    code, message = refused_at_start(pki, options, env=env)
    assert code == 100 and all(name in message for name in names)


def test_no_anchors_are_needed_without_asking(pki):
    """CADIR and CAFILE are not looked at when no certificate is asked for."""
    env = {"CADIR": "/nonexistent", "CAFILE": "/nonexistent"}
    assert environment(pki, env=env)["SSL_PROTOCOL"] == f"TLSv{NEWEST}"


# -- the library's own variables -----------------------------------------------------------

@pytest.fixture
def library(tmp_path):
    """An OPENSSL_CONF that would stop TLS 1.3 and load a provider from OPENSSL_MODULES."""
    found = glob.glob("/usr/lib/*/ossl-modules/legacy.so") + glob.glob("/usr/lib*/ossl-modules/legacy.so")
    if not found:
        pytest.skip("OpenSSL's legacy provider, to be loaded as a module, is not installed")
    (tmp_path / "modules").mkdir()
    with open(found[0], "rb") as source:
        (tmp_path / "modules" / "mine.so").write_bytes(source.read())
    (tmp_path / "openssl.cnf").write_text(
        "openssl_conf = all\n[all]\nssl_conf = ssl\nproviders = providers\n[ssl]\nsystem_default = tls\n"
        "[tls]\nMaxProtocol = TLSv1.2\n[providers]\ndefault = on\nmine = on\n[on]\nactivate = 1\n")
    return {"OPENSSL_CONF": str(tmp_path / "openssl.cnf"), "OPENSSL_MODULES": str(tmp_path / "modules")}


def test_library_variables_are_not_honoured(pki, library):
    """OPENSSL_CONF and OPENSSL_MODULES change nothing for us, and reach prog."""
    prog = ["sh", "-c", "openssl list -providers; echo ==; read line; env -0"]
    with session(pki, prog, env=library) as (tlsd, client):
        assert client.tls.version() == f"TLSv{NEWEST}"
        for pid in tlsd.pid, tlsd.engine():
            with contextlib.suppress(PermissionError), open(f"/proc/{pid}/maps") as maps:
                assert "mine.so" not in maps.read()
        client.send(b"\n")
        text, _, rest = client.read_all().partition(b"\n==\n")
        found = split(rest)
        client.fin()
        assert tlsd.wait() == 0
    assert b"mine" in text and b"OpenSSL Legacy Provider" in text
    assert {name: found[name] for name in library} == library


@pytest.mark.parametrize("content", [None, "", "nonsense\n[", "openssl_conf = missing\n"])
def test_broken_library_configuration_does_no_harm(pki, tmp_path, content):
    """An OPENSSL_CONF that cannot be read or parsed is not even looked at."""
    path = tmp_path / "openssl.cnf"
    if content is not None:
        path.write_text(content)
    assert environment(pki, env={"OPENSSL_CONF": str(path)})["SSL_PROTOCOL"] == f"TLSv{NEWEST}"


# -- how prog is found ---------------------------------------------------------------------

def script(path, text, mode=0o755):
    path.write_text(text)
    path.chmod(mode)


@pytest.mark.parametrize("path, expected", [
    ("{0}/one:{0}/two", "one"), ("{0}/two:{0}/one", "two"), ("{0}/none:{0}/two", "two"),
    ("{0}/plain:{0}/two", "two"), ("{0}/folder:{0}/two", "two"),
])
def test_prog_is_found_by_path(pki, tmp_path, path, expected):
    """prog is the first in PATH that can be run."""
    for name in "one", "two", "plain", "folder":
        (tmp_path / name).mkdir()
    script(tmp_path / "one" / "prog", "#!/bin/sh\necho one\n")
    script(tmp_path / "two" / "prog", "#!/bin/sh\necho two\n")
    script(tmp_path / "plain" / "prog", "#!/bin/sh\necho plain\n", 0o644)
    (tmp_path / "folder" / "prog").mkdir()
    with session(pki, ["prog"], env={"PATH": path.format(tmp_path)}) as (tlsd, client):
        assert client.read_all().decode() == expected + "\n"
        client.fin()
        assert tlsd.wait() == 0


def test_prog_with_a_slash_is_not_searched(pki, tmp_path):
    """A word with a slash is a path, relative to the working directory."""
    script(tmp_path / "prog", "#!/bin/sh\necho here\n")
    with session(pki, ["./prog"], env={"PATH": "/nonexistent"}, preexec=lambda: os.chdir(tmp_path)) as (tlsd, client):
        assert client.read_all() == b"here\n"
        client.fin()
        assert tlsd.wait() == 0


def test_prog_is_not_taken_from_the_working_directory(pki, tmp_path):
    """A word without a slash is looked for in PATH only."""
    script(tmp_path / "prog", "#!/bin/sh\necho here\n")
    with session(pki, ["prog"], preexec=lambda: os.chdir(tmp_path)) as (tlsd, client):
        assert client.read_all() == b""
        client.fin()
        assert tlsd.wait() == 111
        assert "prog" in one_line(tlsd.stderr())


def test_default_path(pki):
    """Without PATH the system's default is searched, as execvp does."""
    with session(pki, ["echo", "found"], env={"PATH": None}) as (tlsd, client):
        assert client.read_all() == b"found\n"
        client.fin()
        assert tlsd.wait() == 0


def test_script_without_interpreter_line(pki, tmp_path):
    """A script that names no interpreter is run by the shell, as execvp does."""
    script(tmp_path / "prog", "echo \"shell $1\"\n")
    with session(pki, [str(tmp_path / "prog"), "a b"]) as (tlsd, client):
        assert client.read_all() == b"shell a b\n"
        client.fin()
        assert tlsd.wait() == 0


def test_working_directory_is_kept(pki):
    """prog starts where the program was started."""
    with session(pki, python("print(os.getcwd())"), preexec=lambda: os.chdir(ROOT)) as (tlsd, client):
        assert client.read_all().decode() == os.path.realpath(ROOT) + "\n"
        client.fin()
        assert tlsd.wait() == 0

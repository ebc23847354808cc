"""Client certificates: who is let in, who is not, and that nobody is let in by half."""

import os
import re
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from harness import ABLE, Client, Tlsd, der, make_identity, new_key, one_line, refusal

CLIENT_AUTH, SERVER_AUTH = [ExtendedKeyUsageOID.CLIENT_AUTH], [ExtendedKeyUsageOID.SERVER_AUTH]

NONE = r"no (client |peer )?certificate|not (return|send) a"

# What a refusal says of a certificate, the same on every backend; what is not here has the library's own words.
REFUSED = "the peer's certificate is refused: "
UNKNOWN = REFUSED + "its chain leads to no trust anchor"
SELF_SIGNED = REFUSED + "it is self-signed, and no trust anchor"
SIGNATURE = REFUSED + "bad signature in its chain"
USAGE = REFUSED + "its key usage is not that of a TLS client"

# Who connects, what -Y and -y make of it, and what the message says when it is refused.
CASES = [
    # who                                     -Y       -y       why
    ("nobody",                                "none",  "no",    NONE),
    ("good",                                  "yes",   "yes",   None),
    ("good, without extended key usage",      "yes",   "yes",   None),
    ("good, RSA",                             "yes",   "yes",   None),
    ("good, Ed25519",                         "yes",   "yes",   None) if ABLE.ed25519 else
    ("good, Ed25519",                         "none",  "no",    NONE),
    ("intermediate sent",                     "yes",   "yes",   None),
    ("intermediate not sent",                 "no",    "no",    UNKNOWN),
    ("anchored at an intermediate",           "yes",   "yes",   None),
    ("anchored there, chain sent",            "yes",   "yes",   None),
    ("expired",                               "no",    "no",    REFUSED + "certificate has expired"),
    ("not yet valid",                         "no",    "no",    REFUSED + "certificate is not yet valid"),
    ("other CA",                              "no",    "no",    UNKNOWN),
    ("other CA of the same name",             "no",    "no",    SIGNATURE),
    ("bit flipped in the signature",          "no",    "no",    SIGNATURE),
    ("self-signed with a real subject",       "no",    "no",    SELF_SIGNED),
    ("self-signed in the CA's name",          "no",    "no",    SELF_SIGNED),
    ("real leaf without its key",             "no",    "no",    r"signature|verify|possession"),
    ("for servers only",                      "no",    "no",    USAGE),
    ("for code signing only",                 "no",    "no",    USAGE),
    ("issued by a leaf",                      "no",    "no",    REFUSED + "issued by one that is no CA"),
    ("intermediate expired",                  "no",    "no",    REFUSED + "certificate has expired"),
    ("intermediate out of its path length",   "no",    "no",    REFUSED + "below the path length of an authority"),
    ("name constraint kept",                  "yes",   "yes",   None) if ABLE.name_constraints else
    ("name constraint kept",                  "no",    "no",    r"constraint|critical|extension"),
    ("name constraint broken",                "no",    "no",    r"permitted|excluded|constraint|subtree"),
    ("unknown critical extension",            "no",    "no",    REFUSED + "unhandled critical extension"),
]


def without_its_key(identity, key):
    """The bytes of a key that claims to belong to the certificate and does not: the public half is the real one."""
    public = identity.key.public_key().public_numbers()
    private = key.private_numbers().private_value.to_bytes(32, "big")
    point = b"\4" + public.x.to_bytes(32, "big") + public.y.to_bytes(32, "big")
    curve = bytes.fromhex("06082a8648ce3d030107")
    body = der(0x30, der(2, b"\1"), der(4, private), der(0xa0, curve), der(0xa1, der(3, b"\0", point)))
    return ssl.DER_cert_to_PEM_cert(body).replace("CERTIFICATE", "EC PRIVATE KEY").encode()


def people(pki):
    """Each case's identity, and its anchor when that is not the CA."""
    ca, found = pki.ca, {"nobody": (None, pki.ca)}

    def add(case, subject="alice", issuer=ca, anchor=ca, **kw):
        kw.setdefault("eku", CLIENT_AUTH)
        identity = make_identity(subject, issuer, **kw)
        identity.keyfile, identity.certfile = identity.files(pki.folder, case.replace(" ", "-"))
        found[case] = identity, anchor

    middle = make_identity("Middle CA", ca, ca=True)
    add("good")
    add("good, without extended key usage", eku=None)
    add("good, RSA", key="rsa2048")
    add("good, Ed25519", key="ed25519")
    add("intermediate sent", issuer=middle, chain=True)
    add("intermediate not sent", issuer=middle)
    add("anchored at an intermediate", issuer=middle, anchor=middle)
    add("anchored there, chain sent", issuer=middle, anchor=middle, chain=True)
    add("expired", start=-10, days=5)
    add("not yet valid", start=5)
    add("other CA", issuer=make_identity("Other CA", ca=True), chain=True)
    add("other CA of the same name", issuer_key=new_key())
    add("bit flipped in the signature")
    flip(found["bit flipped in the signature"][0])
    add("self-signed with a real subject", issuer=None)
    add("self-signed in the CA's name", "Test CA", issuer=None)
    add("real leaf without its key")
    thief = found["real leaf without its key"][0]
    with open(thief.keyfile, "wb") as f:
        f.write(without_its_key(thief, ec.generate_private_key(ec.SECP256R1())))
    add("for servers only", eku=SERVER_AUTH)
    add("for code signing only", eku=[ExtendedKeyUsageOID.CODE_SIGNING])
    add("issued by a leaf", issuer=make_identity("bob", ca, eku=CLIENT_AUTH), chain=True)
    add("intermediate expired", issuer=make_identity("Old CA", ca, ca=True, start=-10, days=5), chain=True)
    last = make_identity("Last CA", ca, ca=True, path_length=0)
    add("intermediate out of its path length", issuer=make_identity("Below CA", last, ca=True, chain=True), chain=True)
    only = x509.NameConstraints([x509.DNSName("example.org")], None)
    bound = make_identity("Bound CA", ca, ca=True, extensions=[(only, True)])
    add("name constraint kept", issuer=bound, chain=True, names=["www.example.org"])
    add("name constraint broken", issuer=bound, chain=True, names=["example.net"])
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
    add("unknown critical extension", extensions=[(unknown, True)])
    return found


def flip(identity):
    """Changes one bit in the certificate's signature, in its file."""
    data = bytearray(identity.cert_der())
    data[-1] ^= 1
    with open(identity.certfile, "w") as f:
        f.write(ssl.DER_cert_to_PEM_cert(bytes(data)))


@pytest.fixture(scope="module")
def known(pki):
    return people(pki)


@pytest.mark.parametrize("option", ["-Y", "-y"])
@pytest.mark.parametrize("who, optional, mandatory, why", CASES, ids=[case[0] for case in CASES])
def test_client_certificate(pki, known, version, tmp_path, who, optional, mandatory, why, option):
    """A verified certificate lets its owner in by name, a bad one never, none only where it is optional."""
    identity, anchor = known[who]
    verdict = optional if option == "-Y" else mandatory
    cafile = tmp_path / "anchors.pem"
    cafile.write_bytes(anchor.cert_pem())
    prog = ["sh", "-c", "touch ran; echo ${SSL_PEER_CERT_HASH+hash} ${SSL_PEER_CERT_SUBJECT-nobody}"]
    with Tlsd(pki, prog, [option], env={"CAFILE": str(cafile)}, preexec=lambda: os.chdir(tmp_path)) as tlsd:
        client = Client(tlsd.sock, pki, version, identity)
        if verdict == "no":
            assert re.match("alert: .*ALERT", refusal(client))
            client.close()
            assert tlsd.wait() == 98
            message = one_line(tlsd.stderr())
            said = message.partition("handshake failed: ")[2]
            assert said == why if why.startswith(REFUSED) else re.search(why, said), message
            assert not (tmp_path / "ran").exists()
        else:
            text = client.handshake().read_all()
            assert text == (b"hash CN=alice\n" if verdict == "yes" else b"nobody\n")
            client.fin()
            assert tlsd.wait() == 0
            assert tlsd.stderr() == ""


@pytest.mark.parametrize("option", ["-Y", "-y"])
def test_anchors_of_the_system_are_not_trusted(pki, known, tmp_path, option):
    """Only CADIR or CAFILE say who is trusted: the library's own variables do not."""
    identity, _ = known["other CA"]
    (tmp_path / "ca.pem").write_bytes(identity.chain[0].public_bytes(Encoding.PEM))
    env = {"CAFILE": pki.cafile, "SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSL_CERT_DIR": str(tmp_path)}
    with Tlsd(pki, ["true"], [option], env=env) as tlsd:
        assert "ALERT" in refusal(Client(tlsd.sock, pki, identity=identity))
        tlsd.sock.close()
        assert tlsd.wait() == 98


def test_key_without_possession_is_loaded_by_the_client(known):
    """The forged key really passes for the certificate's own, so that its refusal is the server's doing."""
    identity, _ = known["real leaf without its key"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(identity.certfile, identity.keyfile)
    with open(identity.keyfile, "rb") as f:
        assert f.read() != identity.key_pem()

"""The private key is never in the engine's memory, and in nobody's once the handshake is over, where the backend can."""

import os
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import harness
from harness import ABLE, BACKEND, PROGRAM, TLS, Client, Tlsd, program_name, server_context, wait_for, wait_quiet

ROLES = ["server", "client"]
OPTIONS = {"server": [], "client": ["-y"]}

pytestmark = pytest.mark.skipif("S6_TLSD_SANITIZED" in os.environ,
                                reason="a sanitizer's memory is terabytes, and it keeps what was freed")


def numbers_of(key):
    """The secret numbers of a key, each as big-endian bytes."""
    if not hasattr(key, "private_numbers"):
        return {"seed": key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())}
    numbers = key.private_numbers()
    names = ["private_value"] if hasattr(numbers, "private_value") else ["d", "p", "q", "dmp1", "dmq1", "iqmp"]
    values = {name: getattr(numbers, name) for name in names}
    return {name: value.to_bytes((value.bit_length() + 7) // 8, "big") for name, value in values.items()}


def secrets_of(identity):
    """What to look for: the middle of each number, in both byte orders, and of each long line of the PEM file."""
    found = {}
    for name, value in numbers_of(identity.key).items():
        # The ends of freed memory are the allocator's.
        middle = value[len(value) // 2 - 12:][:24]
        found[name], found[name + ", little endian"] = middle, middle[::-1]
    for n, line in enumerate(identity.key_pem().splitlines()[1:-1]):
        if len(line) == 64:
            found[f"line {n + 1}"] = line[28:]
    return found


def seen(pid, secrets):
    """Which of the secrets are in the memory of a process, and in what part of it."""
    found = set()
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        pytest.skip("needs root, or the right to read the memory of a process of one's own")
    with open(f"/proc/{pid}/maps") as maps:
        regions = [line.split() for line in maps]
    for bounds, rights, *rest in regions:
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        part = rest[-1] if len(rest) > 3 else "anonymous"
        if "r" not in rights or part in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
            continue
        data = os.pread(memory, end - start, start)
        found |= {(name, part) for name, secret in secrets.items() if secret in data}
    os.close(memory)
    return found


def peer(tlsd, pki, version):
    """The other side, which has the program prove that it has its key."""
    if harness.ROLE == "server":
        return Client(tlsd.sock, pki, version)
    context = server_context(pki.server)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(pki.cafile)
    context.minimum_version = context.maximum_version = TLS[version]
    return Client(tlsd.sock, pki, context=context)


@pytest.fixture(params=[(kind, encoding) for kind in ["p256", "rsa2048"] + ["ed25519"] * ABLE.ed25519
                        for encoding in (Encoding.PEM, Encoding.DER)], ids=lambda p: f"{p[0]}-{p[1].name}")
def owner(request, pki, version, role):
    """What to look for, and the variables of a program with such a key."""
    kind, encoding = request.param
    name = f"secret-{role}-{kind}-{version}-{encoding.name}-{request.node.originalname}"
    identity = pki.issue(name, "localhost", key=kind)
    path = pki.write(name, identity.key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    return secrets_of(identity), {"KEYFILE": path, "CERTFILE": identity.certfile}


def test_key_is_with_the_monitor_until_the_handshake_is_over(pki, version, owner, role):
    """The engine never has a part of the private key; the monitor has it, and has not a part left when prog runs.

    On a backend that cannot sign elsewhere it is the engine alone that has it, as long as it lives.
    """
    secrets, env = owner
    with Tlsd(pki, ["cat"], OPTIONS[role], env=env) as tlsd:
        engine = tlsd.engine()
        holder, other = (tlsd.pid, engine) if ABLE.signs_elsewhere else (engine, tlsd.pid)
        wait_for(lambda: seen(holder, secrets), "what this test looks for")
        wait_quiet(tlsd.pid, engine)
        assert not seen(other, secrets)
        client = peer(tlsd, pki, version)
        client.greet()
        wait_quiet(tlsd.pid, engine)  # its signature is on its way
        assert not seen(other, secrets)
        client.handshake()
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        assert bool(seen(engine, secrets)) != ABLE.signs_elsewhere
        assert not seen(tlsd.pid, secrets)
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


def test_an_exposed_key_is_seen(pki, version, owner, role):
    """With an engine that signs by itself, as those of some backends do anyway, the same look finds the key in it."""
    secrets, env = owner
    exposed = os.path.join(os.path.dirname(PROGRAM), "tests", f"{program_name()}-exposed")
    with Tlsd(pki, ["cat"], OPTIONS[role], env=env, program=[exposed]) as tlsd:
        client = peer(tlsd, pki, version).handshake()
        assert seen(tlsd.engine(), secrets)
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


def test_an_engine_that_holds_the_key_is_told_of(pki, role):
    """At -v2, once, where it is so."""
    env = {"KEYFILE": pki.server.keyfile, "CERTFILE": pki.server.certfile}
    with Tlsd(pki, ["true"], ["-v2", *OPTIONS[role]], env=env) as tlsd:
        Client(tlsd.sock, pki).handshake().fin()
        assert tlsd.wait() == 0
        told = tlsd.stderr(raw=True).count(f"the engine holds the private key: {BACKEND} cannot sign elsewhere\n")
        assert told == (not ABLE.signs_elsewhere)


def test_no_key_no_word_of_it(pki):
    """A client that shows no certificate has no key that anybody could hold."""
    harness.ROLE = "client"
    with Tlsd(pki, ["true"], ["-v2"]) as tlsd:
        Client(tlsd.sock, pki).handshake().fin()
        assert tlsd.wait() == 0
        assert "holds the private key" not in tlsd.stderr(raw=True)

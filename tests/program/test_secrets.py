"""The private key is never in the engine's memory, and in nobody's once the handshake is over, where the backend can."""

import os

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harness import ABLE, BACKEND, PROGRAM, Client, Tlsd, wait_quiet

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


@pytest.fixture(params=[(kind, encoding) for kind in ["p256", "rsa2048"] + ["ed25519"] * ABLE.ed25519
                        for encoding in (Encoding.PEM, Encoding.DER)], ids=lambda p: f"{p[0]}-{p[1].name}")
def owner(request, pki, version):
    """What to look for, and the variables of a server with such a key."""
    kind, encoding = request.param
    name = f"secret-{kind}-{version}-{encoding.name}-{request.node.originalname}"
    identity = pki.issue(name, "localhost", key=kind)
    path = pki.write(name, identity.key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    return secrets_of(identity), {"KEYFILE": path, "CERTFILE": identity.certfile}


def test_key_is_with_the_monitor_until_the_handshake_is_over(pki, version, owner):
    """The engine never has a part of the private key; the monitor has it, and has not a part left when prog runs.

    On a backend that cannot sign elsewhere it is the engine alone that has it, as long as it lives.
    """
    secrets, env = owner
    with Tlsd(pki, ["cat"], env=env) as tlsd:
        engine = tlsd.engine()
        holder, other = (tlsd.pid, engine) if ABLE.signs_elsewhere else (engine, tlsd.pid)
        wait_quiet(tlsd.pid, engine)
        assert seen(holder, secrets), "this test cannot see what it looks for"
        assert not seen(other, secrets)
        client = Client(tlsd.sock, pki, version)
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


def test_an_exposed_key_is_seen(pki, version, owner):
    """With an engine that signs by itself, as those of some backends do anyway, the same look finds the key in it."""
    secrets, env = owner
    exposed = os.path.join(os.path.dirname(PROGRAM), "tests", "s6-tlsd-exposed")
    with Tlsd(pki, ["cat"], env=env, program=[exposed]) as tlsd:
        client = Client(tlsd.sock, pki, version).handshake()
        assert seen(tlsd.engine(), secrets)
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


def test_an_engine_that_holds_the_key_is_told_of(pki):
    """At -v2, once, where it is so."""
    with Tlsd(pki, ["true"], ["-v2"]) as tlsd:
        Client(tlsd.sock, pki).handshake().fin()
        assert tlsd.wait() == 0
        told = tlsd.stderr(raw=True).count(f"the engine holds the private key: {BACKEND} cannot sign elsewhere\n")
        assert told == (not ABLE.signs_elsewhere)

"""The private key is in nobody's memory once the handshake is over."""

import os
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harness import Client, PROGRAM, Tlsd, wait_quiet

# libtls has no call that forgets a key.
KEEPS_KEY = subprocess.run([PROGRAM, "--backend"], stdout=subprocess.PIPE, check=True).stdout.startswith(b"libtls:")

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


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("kind", ["p256", "rsa2048", "ed25519"])
def test_key_is_forgotten(pki, version, kind, encoding):
    """Monitor and engine have not a part of the private key left when prog runs; the engine had it until then."""
    name = f"secret-{kind}-{version}-{encoding.name}"
    identity = pki.issue(name, "localhost", key=kind)
    path = pki.write(name, identity.key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    secrets = secrets_of(identity)
    with Tlsd(pki, ["cat"], env={"KEYFILE": path, "CERTFILE": identity.certfile}) as tlsd:
        engine = tlsd.engine()
        wait_quiet(tlsd.pid, engine)
        assert seen(engine, secrets), "this test cannot see what it looks for"
        assert not seen(tlsd.pid, secrets)
        client = Client(tlsd.sock, pki, version).handshake()
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        assert bool(seen(engine, secrets)) == KEEPS_KEY
        assert not seen(tlsd.pid, secrets)
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")

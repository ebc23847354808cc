"""Memory and descriptors under valgrind: no error, no leak, nothing left open, in monitor and engine."""

import pytest

from harness import Client, Tlsd, VERSIONS, refusal, session
from memcheck import COUNT, MARKS, UNSEALED, check, valgrind

pytestmark = MARKS


@pytest.mark.parametrize("n", range(COUNT))
def test_connection(pki, tmp_path, n):
    """A connection with a client certificate leaves nothing behind."""
    version = VERSIONS[-1 - n % len(VERSIONS)]
    options = [UNSEALED, "-v2", "-y", *(["-S"] if n % 4 > 1 else [])]
    with session(pki, ["sh", "-c", "cat; exit 5"], options, version, pki.client, env={"CAFILE": pki.cafile},
                 program=valgrind(tmp_path)) as (tlsd, client):
        engine = tlsd.engine()
        client.send(b"x" * 100000)
        assert client.read_exactly(100000) == b"x" * 100000
        client.close_notify() if n % 4 > 1 else client.fin()
        assert client.read_all() == b""
        client.close()
        assert tlsd.wait() == 5
    check(tmp_path, monitor=tlsd.pid, engine=engine)


def test_refused_client(pki, tmp_path):
    """A failed handshake leaves nothing behind."""
    with Tlsd(pki, ["cat"], [UNSEALED, "-y"], env={"CAFILE": pki.cafile}, program=valgrind(tmp_path)) as tlsd:
        engine = tlsd.engine()
        assert "ALERT" in refusal(Client(tlsd.sock, pki))
        tlsd.sock.close()
        assert tlsd.wait() == 98
    check(tmp_path, monitor=tlsd.pid, engine=engine)

"""The main job, on each version of TLS."""

from harness import session


def test_cat_echoes(pki, version):
    with session(pki, ["cat"], version=version) as (tlsd, client):
        client.send(b"hello\n")
        assert client.read_exactly(6) == b"hello\n"
        client.fin()
        assert client.read_all() == b""
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""

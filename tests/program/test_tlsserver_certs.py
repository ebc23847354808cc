"""s6-tlsserver: its certificate, key and trust anchors change while it runs."""

import contextlib
import os
import signal
import socket
import ssl
import threading

import pytest

from harness import ABLE, LIMIT, children, make_identity, wait_for
from server import echoed, leave, many, serving


class Files:
    """KEYFILE and CERTFILE that change: put(), by rename, as whoever renews certificates does, or in place."""

    def __init__(self, folder, identity):
        self.key, self.cert = str(folder / "server.key"), str(folder / "server.pem")
        self.env = {"KEYFILE": self.key, "CERTFILE": self.cert}
        self.put(identity)

    def put(self, identity, order=("key", "cert"), in_place=False):
        for what in order:
            self.write(what, identity.key_pem() if what == "key" else identity.chain_pem(), in_place)

    def write(self, what, data, in_place=False):
        path = getattr(self, what)
        with open(path if in_place else path + ".new", "wb") as f:
            f.write(data)
        if not in_place:
            os.rename(path + ".new", path)


@pytest.fixture(scope="module")
def pairs(pki):
    """Some pairs that belong to the same CA."""
    return [pki.issue(f"pair{n}", f"pair {n}", names=["localhost"]) for n in range(4)]


@pytest.fixture
def files(tmp_path, pairs):
    tmp_path.chmod(0o755)
    return Files(tmp_path, pairs[0])


def shown(server, version=None):
    """The certificate of a new connection, whose handshake is good, and which is used."""
    client = server.client(version)
    assert echoed(client)
    leave(client)
    return client.tls.getpeercert(True)


def shows(server, identity):
    return wait_for(lambda: shown(server) == identity.cert_der(), "the certificate to change")


def unlink(path):
    os.unlink(path)


# -- what is right --------------------------------------------------------------------

@pytest.mark.parametrize("order", [("key", "cert"), ("cert", "key")], ids="-".join)
@pytest.mark.parametrize("in_place", [False, True], ids=["renamed", "in place"])
def test_new_pair_is_used(pki, pairs, files, version, order, in_place):
    """By new connections, without a signal; those that run are untouched."""
    with serving(pki, ["cat"], env=files.env) as server:
        running = server.client(version)
        assert shown(server, version) == pairs[0].cert_der()
        files.put(pairs[1], order, in_place)
        server.event("reload")
        assert shown(server, version) == pairs[1].cert_der()
        assert echoed(running)
        leave(running)
        server.pass_over("; the certificate stays as it was$")  # between the two files


def test_new_pair_in_slow_steps(pki, pairs, files):
    """While key and certificate do not belong together the old pair goes on; then the new one comes."""
    with serving(pki, ["cat"], env=files.env) as server:
        files.write("key", pairs[1].key_pem())
        server.warning("does not belong to .*; the certificate stays as it was")
        assert shown(server) == pairs[0].cert_der()
        files.write("cert", pairs[1].chain_pem())
        server.event("reload")
        assert shown(server) == pairs[1].cert_der()


def test_signal_reads_at_once(pki, pairs, files):
    """SIGUSR1 reads the files, whether they have changed or not."""
    with serving(pki, ["cat"], env=files.env) as server:
        os.kill(server.pid, signal.SIGUSR1)
        server.event("reload")
        assert shown(server) == pairs[0].cert_der()
        files.put(pairs[1])
        os.kill(server.pid, signal.SIGUSR1)
        wait_for(lambda: len(server.events("reload")) >= 2, "the second reload")
        assert shown(server) == pairs[1].cert_der()


def test_handshake_that_has_begun_keeps_its_pair(pki, pairs, files, version):
    """A client that was accepted before the change sees the old pair, and it is whole."""
    with serving(pki, ["cat"], env=files.env) as server:
        client = server.begin(version)
        server.event("accept", peer=client.peername)
        for n in 1, 2:
            files.put(pairs[n])
            os.kill(server.pid, signal.SIGUSR1)
            wait_for(lambda: len(server.events("reload")) >= n, "a reload")
        assert shown(server, version) == pairs[2].cert_der()
        client.handshake()
        assert echoed(client)
        assert client.tls.getpeercert(True) == pairs[0].cert_der()
        leave(client)


def test_key_of_another_kind(pki, pairs, files, version):
    """From P-256 to RSA and back."""
    other = pki.issue("pair-rsa", "pair rsa", names=["localhost"], key="rsa2048")
    with serving(pki, ["cat"], env=files.env) as server:
        for n, identity in enumerate((other, pairs[1]), 1):
            files.put(identity)
            os.kill(server.pid, signal.SIGUSR1)
            wait_for(lambda: len(server.events("reload")) >= n, "a reload")
            assert shown(server, version) == identity.cert_der()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who reads the key")
def test_key_of_root_alone(pki, pairs, files):
    """A new key that only root can read is read by one who drops to TLS_UID then."""
    ids = {"TLS_UID": "61001", "TLS_GID": "61002"}
    os.chmod(files.key, 0o600)
    with serving(pki, ["cat"], env=files.env | ids) as server:
        files.put(pairs[1])
        os.chmod(files.key, 0o600)
        os.kill(server.pid, signal.SIGUSR1)
        wait_for(lambda: shown(server) == pairs[1].cert_der(), "the new pair")
        for signer in server.signers():
            with open(f"/proc/{signer}/status") as f:
                assert "Uid:\t61001\t61001\t61001\t61001\n" in f.read()


# -- what is wrong --------------------------------------------------------------------

BROKEN = {
    "garbage": (lambda f: f.write("cert", b"garbage\n"), "CERTFILE .*server.pem"),
    "cut": (lambda f: f.write("cert", open(f.cert, "rb").read()[:300]), "CERTFILE .*server.pem"),
    "empty": (lambda f: f.write("cert", b""), "CERTFILE .*server.pem"),
    "key garbage": (lambda f: f.write("key", b"garbage\n"), "KEYFILE .*server.key"),
    "key empty": (lambda f: f.write("key", b""), "KEYFILE .*server.key"),
    "missing": (lambda f: unlink(f.cert), "CERTFILE .*server.pem: .*No such file"),
    "key missing": (lambda f: unlink(f.key), "KEYFILE .*server.key: .*No such file"),
    "directory": (lambda f: (unlink(f.cert), os.mkdir(f.cert)), "CERTFILE .*server.pem"),
    "fifo": (lambda f: (unlink(f.key), os.mkfifo(f.key)), "KEYFILE .*server.key"),
    "large": (lambda f: f.write("cert", bytes(2 << 20)), "CERTFILE .*server.pem"),
}


def restore(files, identity):
    for path in files.key, files.cert:
        if os.path.isdir(path):
            os.rmdir(path)
    files.put(identity)


@pytest.mark.parametrize("how", BROKEN)
def test_broken_pair_is_not_used(pki, pairs, files, how):
    """One line names the file, the old pair goes on; that is said once; and the next good pair is used."""
    damage, why = BROKEN[how]
    with serving(pki, ["cat"], env=files.env) as server:
        running = server.client()
        damage(files)
        server.warning(f"{why}.*; the certificate stays as it was$")
        # What is looked at again, a few times, is not told of again.
        looks = wait_for_looks(server, 3)
        assert looks and server.warnings() == []
        assert shown(server) == pairs[0].cert_der()
        assert echoed(running)
        leave(running)
        restore(files, pairs[1])
        shows(server, pairs[1])
        server.pass_over("; the certificate stays as it was$")  # between the two files


def wait_for_looks(server, n):
    """Until the listener, which wakes for nothing else now, has done so n times."""
    def switches():
        with open(f"/proc/{server.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches"))
    before = switches()
    return wait_for(lambda: switches() >= before + n, "the files to be looked at")


def test_mismatch_is_not_used(pki, pairs, files):
    """Nor on demand, as often as that is asked."""
    with serving(pki, ["cat"], env=files.env) as server:
        files.write("cert", pairs[1].chain_pem())
        server.warning("does not belong to .*; the certificate stays as it was$")
        for _ in range(3):
            os.kill(server.pid, signal.SIGUSR1)
            server.warning("does not belong to .*; the certificate stays as it was$")
            assert shown(server) == pairs[0].cert_der()
        files.write("key", pairs[1].key_pem())
        shows(server, pairs[1])


def test_key_that_can_be_read_once(pki, pairs, files, tmp_path):
    """A FIFO: the server begins with it, and says that it cannot be read again when it is asked to."""
    os.mkfifo(tmp_path / "fifo")
    threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(pairs[0].chain_pem())).start()
    with serving(pki, ["cat"], env=files.env | {"CERTFILE": str(tmp_path / "fifo")}) as server:
        assert shown(server) == pairs[0].cert_der()
        os.kill(server.pid, signal.SIGUSR1)
        server.warning("CERTFILE .*fifo: not a regular file, cannot be read again; the certificate stays as it was")
        assert shown(server) == pairs[0].cert_der()


# -- trust anchors --------------------------------------------------------------------

@pytest.fixture(scope="module")
def stranger(pki):
    """A client of another CA."""
    ca = make_identity("Other CA", ca=True)
    identity = pki.issue("stranger", "stranger", ca)
    identity.ca = ca
    return identity


def let_in(server, identity, version=None):
    """Whether a client with that certificate is served."""
    client = server.begin(version, identity=identity)
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        client.handshake()
        client.fin()
        client.read_all()
    client.close()
    end = server.event("end", peer=client.peername)
    if end["code"] != "0":
        server.warning(f"peer={client.peername} ")
    return end["code"] == "0"


@pytest.mark.parametrize("variable", ["CADIR", "CAFILE"])
def test_anchors_change(pki, stranger, tmp_path, version, variable):
    """One that comes lets its clients in, one that goes keeps them out."""
    tmp_path.chmod(0o755)
    place = tmp_path / "anchors"
    if variable == "CADIR":
        place.mkdir()
        (place / "own.pem").write_bytes(pki.ca.cert_pem())
    else:
        place.write_bytes(pki.ca.cert_pem())

    def put(both):
        if variable == "CAFILE":
            (tmp_path / "new").write_bytes(pki.ca.cert_pem() + (stranger.ca.cert_pem() if both else b""))
            os.rename(tmp_path / "new", place)
        elif both:
            (place / "other.pem").write_bytes(stranger.ca.cert_pem())
        else:
            (place / "other.pem").unlink()

    with serving(pki, ["cat"], ["-y"], env={variable: str(place)}) as server:
        assert let_in(server, pki.client, version) and not let_in(server, stranger, version)
        for n, both in enumerate((True, False), 1):
            put(both)
            wait_for(lambda: len(server.events("reload")) >= n, "the anchors to be read")
            assert let_in(server, stranger, version) == both
            assert let_in(server, pki.client, version)


def test_anchors_that_are_none(pki, tmp_path):
    """The old ones stay."""
    tmp_path.chmod(0o755)
    (tmp_path / "ca").write_bytes(pki.ca.cert_pem())
    with serving(pki, ["cat"], ["-y"], env={"CAFILE": str(tmp_path / "ca")}) as server:
        (tmp_path / "ca").write_bytes(b"nothing\n")
        server.warning("CAFILE .*/ca.*; the certificate stays as it was$")
        assert let_in(server, pki.client)


def test_anchors_are_not_looked_at_in_vain(pki, tmp_path):
    """Without -y and -Y nothing of them is read."""
    (tmp_path / "ca").write_bytes(pki.ca.cert_pem())
    with serving(pki, ["cat"], env={"CAFILE": str(tmp_path / "ca")}) as server:
        (tmp_path / "ca").write_bytes(b"nothing\n")
        wait_for_looks(server, 3)
        assert server.events("reload") == []


# -- again and again ---------------------------------------------------------------------

@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look into the listener")
def test_nothing_is_left_of_earlier_pairs(pki, pairs, files):
    """After twenty changes there are as many signers, engines and descriptors as before."""
    with serving(pki, ["cat"], env=files.env) as server:
        def state():
            return len(children(server.pid)), len(os.listdir(f"/proc/{server.pid}/fd"))

        def settled():
            server.at_rest()
            return len(server.spares()) == 2
        wait_for(settled, "spare engines")
        assert shown(server) == pairs[0].cert_der()
        wait_for(settled, "spare engines")
        before = state()
        for n in range(20):
            files.put(pairs[n % 4])
            os.kill(server.pid, signal.SIGUSR1)
            wait_for(lambda: len(server.events("reload")) > n, "a reload")
        assert shown(server) == pairs[3].cert_der()
        wait_for(lambda: settled() and state() == before, "all to be as before")
        assert ABLE.signs_elsewhere == bool(server.signers())


class Load(threading.Thread):
    """A client that comes again and again, and verifies; seen: certificates, failed: what went wrong."""

    def __init__(self, pki, port):
        super().__init__()
        self.context = ssl.create_default_context(cafile=pki.cafile)
        self.port, self.seen, self.failed, self.over, self.count = port, set(), [], False, 0

    def run(self):
        while not self.over:
            try:
                with socket.create_connection(("127.0.0.1", self.port), LIMIT) as sock:
                    with self.context.wrap_socket(sock, server_hostname="localhost") as tls:
                        self.seen.add(tls.getpeercert(True))
                        tls.sendall(b"x")
                        assert tls.recv(1) == b"x"
                        self.count += 1
            except Exception as e:
                self.failed.append(repr(e))


def test_changes_under_load(pki, pairs, files):
    """However often the files change, half the time to something broken: no handshake fails, no pair is mixed."""
    times = many(100, 16)
    damages = [damage for damage, _ in BROKEN.values()]
    with serving(pki, ["cat"], env=files.env) as server:
        loads = [Load(pki, server.port) for _ in range(2)]
        try:
            for load in loads:
                load.start()
            for n in range(times):
                if n % 2:
                    warned = len(server.lines("warning"))
                    damages[n // 2 % len(damages)](files)
                    wait_for(lambda: len(server.lines("warning")) > warned, "the warning")
                else:
                    pair = pairs[n // 2 % 4]
                    for load in loads:
                        load.seen.clear()
                    restore(files, pair)
                    wait_for(lambda: all(pair.cert_der() in load.seen for load in loads), "the new pair to be used")
        finally:
            for load in loads:
                load.over = True
            for load in loads:
                load.join()
        assert [load.failed for load in loads] == [[], []]
        assert all(load.seen <= {pair.cert_der() for pair in pairs} for load in loads)
        server.pass_over("; the certificate stays as it was$")
        server.at_rest()

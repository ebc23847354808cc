"""s6-tlsserver's engines and signers: what they have, who has the key, and one that somebody has taken over."""

import contextlib
import os
import signal

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from harness import (ABLE, LIMIT, PROGRAM, SANITIZED, VERSIONS, children, status_of, survivors, wait_for,
                     wait_quiet)
from server import Server, echoed, leave, many, refused, serving
from test_sandbox import ATTEMPTS, IDS, NEEDS_ABI, lacking, landlock_abi, limits, sealed
from test_secrets import secrets_of, seen

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root has privileges to drop")
SEALED = pytest.mark.skipif(SANITIZED, reason="a sanitized program is never sealed")
FOLDER = os.path.join(os.path.dirname(PROGRAM), "tests")
DOUBLES = pytest.mark.skipif(not os.path.exists(FOLDER), reason="the programs of the tests are not beside the program")


def kinds(pid):
    """What the descriptors of a process are, those that are /dev/null aside."""
    found = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
    return sorted(what.split(":")[0] for what in found if what != "/dev/null")


# -- what the kernel says of them ---------------------------------------------------------

@SEALED
def test_engines_are_sealed_before_they_have_a_connection(pki):
    with serving(pki, ["cat"]) as server:
        wait_for(lambda: len(server.spares()) == 2, "spare engines")
        for engine in server.spares():
            wait_for(lambda: sealed(engine), "the seal")
            found = limits(engine)
            assert found["Max processes"] == found["Max core file size"] == ("0", "0")
            assert int(found["Max open files"][1]) <= 16
        for signer in server.signers():
            assert sealed(signer)
            assert limits(signer)["Max processes"] == ("0", "0")


@ROOT_ONLY
@SEALED
def test_ids_of_engines_and_signers(pki):
    """TLS_UID and TLS_GID, no group, no capability; the listener keeps what it takes to start and end others."""
    with serving(pki, ["cat"], env=IDS) as server:
        client = server.client()
        assert echoed(client)
        wait_for(lambda: len(server.spares()) == 2, "spare engines")
        for pid in server.engines() + server.signers():
            wait_for(lambda: sealed(pid), "the seal")
            assert status_of(pid, "Uid").split() == ["61001"] * 4
            assert status_of(pid, "Gid").split() == ["61002"] * 4
            assert status_of(pid, "Groups").split() == []
            assert {int(status_of(pid, name), 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
            assert os.stat(f"/proc/{pid}/mem").st_uid == 0, "dumpable"
        capabilities = int(status_of(server.pid, "CapEff"), 16)
        for needless in 10, 12, 19, 21, 27:  # of ports, networks, tracing, administration, devices
            assert not capabilities >> needless & 1
        leave(client)


@ROOT_ONLY
def test_descriptors_of_an_engine(pki):
    """A spare one has the channel and its signer's socket; then its own connection and prog's pipes; nobody else's."""
    with serving(pki, ["cat"], ["-c9"]) as server:
        clients = [server.client() for _ in range(3)]
        assert all(echoed(client) for client in clients)
        wait_for(lambda: len(server.spares()) == 2, "spare engines")
        for engine in server.spares():
            wait_for(lambda: len(kinds(engine)) == 1 + ABLE.signs_elsewhere, "the descriptors of others to be closed")
            assert set(kinds(engine)) == {"socket"}
        for client in clients:
            engine = server.engine(client)
            wait_for(lambda: kinds(engine) == ["pipe", "pipe", "socket", "socket"], "the signer's socket to be closed")
        for signer in server.signers():
            assert set(kinds(signer)) <= {"anon_inode", "socket"}
        for client in clients:
            leave(client)


@ROOT_ONLY
def test_the_listener_has_no_connection(pki):
    """Once it is handed over, the engine alone has it."""
    with serving(pki, ["cat"]) as server:
        leave(server.client())
        server.at_rest()
        wait_for(lambda: len(server.spares()) == 2, "spare engines")
        before = kinds(server.pid)
        client = server.client()
        assert echoed(client)
        wait_for(lambda: kinds(server.pid) == sorted([*before, "socket"]), "nothing but one more channel")
        leave(client)


# -- the key ---------------------------------------------------------------------------------

SEES = pytest.mark.skipif(SANITIZED or os.geteuid() != 0, reason="needs root, and memory that is not a sanitizer's")


@SEES
@pytest.mark.parametrize("kind", ["p256", "rsa2048"] + ["ed25519"] * ABLE.ed25519)
def test_key_is_with_the_signers_alone(pki, version, kind):
    """Not a part of it is in the listener or an engine, whatever that does; where the backend cannot, it is in all."""
    identity = pki.issue(f"server-secret-{kind}-{version}", "localhost", key=kind, names=["localhost"])
    secrets = secrets_of(identity)
    with serving(pki, ["cat"], env={"KEYFILE": identity.keyfile, "CERTFILE": identity.certfile}) as server:
        silent, up = server.begin(version), server.client(version)
        assert echoed(up)
        server.event("accept", peer=silent.peername)
        wait_for(lambda: len(server.spares()) == 2, "spare engines")
        wait_quiet(server.pid, *server.engines())
        for signer in server.signers():
            assert seen(signer, secrets), "this test cannot see what it looks for"
        for pid in [server.pid, *server.engines()]:
            if ABLE.signs_elsewhere:
                assert not seen(pid, secrets)
        assert ABLE.signs_elsewhere or seen(server.pid, secrets)
        silent.handshake()
        leave(silent)
        leave(up)


@SEES
def test_engines_know_nothing_of_other_clients(pki, tmp_path, version):
    """A spare one is a copy of the listener, which has forgotten who was there, and keeps who is where no copy goes."""
    rule = tmp_path / "ip4/127.0.0.1_32"
    (rule / "env").mkdir(parents=True)
    (rule / "allow").touch()
    (rule / "env/OTHER").write_text("and another for this client alone")
    (rule / "env/WORD").write_text("of the rule for this client alone")
    alice = pki.issue("memorable", "Memorable Alice", eku=[ExtendedKeyUsageOID.CLIENT_AUTH])
    with serving(pki, ["cat"], ["-Y", "-i", str(tmp_path)], env={"CAFILE": pki.cafile}) as server:
        gone, there = (server.client(version, identity=alice) for _ in range(2))
        assert echoed(gone) and echoed(there)
        words = {"subject": b"Memorable Alice", "rule": b"for this client alone",
                 "gone": gone.peername.encode(), "there": there.peername.encode()}
        assert {name for name, _ in seen(server.prog(there), words)} >= {"subject", "rule"}
        assert "there" in {name for name, _ in seen(server.pid, words)}
        leave(gone)
        for _ in range(3):  # they use up what was forked before
            leave(server.client(version, source="127.0.0.1"))
        wait_for(lambda: len(server.spares()) == 2, "spare engines")
        wait_quiet(server.pid, *server.spares())
        for engine in server.spares():
            assert seen(engine, words) == set()
        leave(there)


@SEES
def test_engines_know_nothing_of_a_rule_that_is_refused(pki, tmp_path):
    """Nor is anything left of what was read of a rule before it turned out to be too much."""
    for address in "127.0.0.1", "127.0.0.2":
        (tmp_path / f"ip4/{address}_32/env").mkdir(parents=True)
        (tmp_path / f"ip4/{address}_32/allow").touch()
    (tmp_path / "ip4/127.0.0.2_32/env/WORD").write_text("for the other alone " * 4000)
    with serving(pki, ["cat"], ["-i", str(tmp_path)]) as server:
        server.begin(source="127.0.0.2")
        server.warning("access rule ip4/127.0.0.2_32: WORD: larger than 64 KiB")
        for _ in range(3):  # they use up what was forked before
            leave(server.client())
        wait_for(lambda: len(server.spares()) == 2, "spare engines")
        wait_quiet(server.pid, *server.spares())
        for pid in [server.pid, *server.spares()]:
            assert seen(pid, {"rule": b"for the other alone"}) == set()


@SEES
def test_no_key_is_left_of_an_earlier_pair(pki, tmp_path):
    """After a change the old one is nowhere, and the new one with the signers alone."""
    one, other = (pki.issue(f"server-secret-{n}", "localhost", names=["localhost"]) for n in "ab")
    paths = one.files(str(tmp_path), "server")
    with serving(pki, ["cat"], env=dict(zip(("KEYFILE", "CERTFILE"), paths))) as server:
        assert any(seen(pid, secrets_of(one)) for pid in children(server.pid))
        other.files(str(tmp_path), "server")
        server.proc.send_signal(signal.SIGUSR1)
        server.event("reload")
        client = server.client()
        assert client.tls.getpeercert(True) == other.cert_der()
        leave(client)
        server.at_rest()
        wait_for(lambda: len(server.spares()) == 2, "spare engines")

        def holders(identity):
            return [pid for pid in [server.pid, *children(server.pid)] if seen(pid, secrets_of(identity))]
        if ABLE.signs_elsewhere:
            wait_for(lambda: holders(one) == [], "the old key to be gone")
            assert sorted(holders(other)) == sorted(server.signers())


# -- random numbers ------------------------------------------------------------------------------

@pytest.mark.parametrize("version", VERSIONS)
def test_random_numbers_differ(pki, version):
    """No two connections have the same server random, session id or key: engines are forked from one process."""
    randoms, hellos, ids, count = set(), set(), set(), many(1000, 1000 // len(VERSIONS))
    with serving(pki, ["true"], ["--linger=0"]) as server:
        for _ in range(count):
            client = server.begin(version)
            with contextlib.suppress(Exception):
                client.tls.do_handshake()
            client.flush()
            data = b""
            while len(data) < 9 or len(data) < 5 + int.from_bytes(data[3:5], "big"):
                more = client.sock.recv(1 << 16)
                assert more
                data += more
            # Of the record (RFC 8446, 5.1) the ServerHello (4.1.3): type, length, version, random, session id.
            hello = data[5:5 + 4 + int.from_bytes(data[6:9], "big")]
            assert data[0] == 22 and hello[0] == 2
            randoms.add(hello[6:38])
            hellos.add(hello[39 + hello[38]:] if version == "1.3" else hello[6:38])
            if version == "1.2" and hello[38]:
                ids.add(hello[39:39 + hello[38]])
            client.reset()
        assert len(randoms) == len(hellos) == count
        assert len(ids) in (0, count)
        server.at_rest()
        server.pass_over("handshake failed|left|reset|closed")


# -- an engine that was taken over -----------------------------------------------------------------

@contextlib.contextmanager
def taken_over(pki, double, env, prog=("cat",), options=("--linger=0",), **kw):
    with Server(pki, list(prog), list(options), program=[os.path.join(FOLDER, f"s6-tlsserver-{double}")],
                env=env, **kw) as server:
        yield server
        server.proc.send_signal(signal.SIGABRT)
        assert server.wait(LIMIT / 2) == 0
        wait_for(lambda: not survivors(server.pid), "the last process")


def attempt(server):
    """What came of a prisoner's attempt: of the warning that the listener tells it by, the text."""
    client = server.connect()
    try:
        while client.recv(100):
            pass
    except ConnectionResetError:
        pass
    client.close()
    return server.warning(r"^pid=\d+ peer=\S+ (.*)$")[1]


VICTIMS = ["listener", "engine", "signer"] if ABLE.signs_elsewhere else ["listener", "engine"]


@contextlib.contextmanager
def victim(pki, who):
    """The pid of a process of another server of the same ids; the prisoner's own listener is None."""
    if who == "listener":
        yield None
        return
    with serving(pki, ["cat"], env=IDS) as other:
        pid = wait_for(other.spares if who == "engine" else other.signers, who)[0]
        wait_for(lambda: sealed(pid), "the seal")
        yield str(pid)


@ROOT_ONLY
@SEALED
@DOUBLES
@pytest.mark.parametrize("what", ["open", "socket", "fork", "exec", "setuid", "limit"])
def test_attempt_is_deadly(pki, what):
    """Whatever is not a relay's call kills the engine, and is told once; the server goes on."""
    with taken_over(pki, "prisoner", IDS | {"PRISONER": what}) as server:
        for _ in range(3):
            assert attempt(server) == f"engine died (signal {signal.SIGSYS:d})"


@ROOT_ONLY
@SEALED
@DOUBLES
@pytest.mark.parametrize("who", VICTIMS)
@pytest.mark.parametrize("what", ["kill", "ptrace", "mem", "readv"])
def test_attempt_on_others(pki, who, what):
    """Neither the listener nor another engine or signer is in reach, with the filter and without."""
    with victim(pki, who) as pid:
        with taken_over(pki, "prisoner", IDS | {"PRISONER": what, "VICTIM": pid}) as server:
            assert attempt(server) == f"engine died (signal {signal.SIGSYS:d})"
        if landlock_abi() < NEEDS_ABI.get(what, 1):
            return
        env = IDS | {"PRISONER": what, "VICTIM": pid}
        with taken_over(pki, "prisoner", env, preexec_fn=lacking("seccomp")) as server:
            assert attempt(server) == f"{what}: {ATTEMPTS[what][0]}"


@DOUBLES
@SEALED
def test_what_is_allowed_is_done(pki):
    """A prisoner that asks for memory alone lives to tell."""
    with taken_over(pki, "prisoner", {"PRISONER": "allocate"}) as server:
        assert attempt(server) == "allocate: done"


MALFORMED = [
    "up up", "up fault", "ask", "up ask ask", "ready", "up ready",  # out of order
    "up-", "up+", "long", "up long", "up end-", "up end+", "up end-none", "fault+", "fault-wrong", "up ask+", "unknown",
    "run", "up-lie", "up unknown", "up run", "connected", "up connected", "up flood",
]


@DOUBLES
@pytest.mark.parametrize("words", MALFORMED)
def test_malformed_message(pki, words):
    """A message out of its form or out of its order ends that connection alone: 98, told once; prog reads EOF."""
    with taken_over(pki, "hostile", {"HOSTILE": words}) as server:
        socks = [server.connect() for _ in range(2)]
        for _ in socks:
            server.warning(r"^pid=\d+ peer=\S+ engine sent a malformed message$")
        wait_for(lambda: len(server.events("end")) == len(socks), "the connections to be over")
        assert {end["code"] for end in server.events("end")} == {"98"}
        assert server.proc.poll() is None and server.warnings() == []
        for sock in socks:
            sock.close()


@DOUBLES
def test_engine_that_should_be_gone(pki):
    """One that hung up, or told of its end, and lives on is killed; the code is as if it had gone."""
    expected = [("close", "98", "engine died (signal 9)"), ("up close", "98", "engine died (signal 9)"),
                ("end", "98", "engine ended before the handshake"), ("fault", "98", "the engine says so"),
                ("up end", "5", None)]
    with contextlib.ExitStack() as stack:
        # All at once, for the sake of the 5 s that they are given.
        servers = [stack.enter_context(taken_over(pki, "hostile", {"HOSTILE": words}, ["sh", "-c", "cat; exit 5"]))
                   for words, _, _ in expected]
        socks = [server.connect() for server in servers]
        for server, (words, code, text) in zip(servers, expected):
            assert server.event("end")["code"] == code, words
            assert [line.split(" ", 2)[2] for line in server.warnings()] == ([text] if text else [])
        for sock in socks:
            sock.close()


def received(sock):
    """What comes, up to the engine's last word."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while not data.endswith(b"done") and (chunk := sock.recv(1 << 16)):
            data += chunk
    return data


if ABLE.signs_elsewhere:
    @DOUBLES
    @pytest.mark.parametrize("what", ["empty", "half", "huge", "garbage", "tiny", "text", "client", "hash"])
    def test_request_for_a_signature_that_tls_does_not_need(pki, what):
        """It is refused, and that ends this connection alone, told once; the signers go on."""
        with taken_over(pki, "hostile", {"HOSTILE": f"sign-{what}"}) as server:
            signers = server.signers()
            for _ in range(3):
                with server.connect() as sock:
                    assert b"signed" not in received(sock)
                server.warning("engine asked for a signature that is refused: ")
            assert server.signers() == signers and server.warnings() == []
            wait_for(lambda: len(server.events("end")) == 3, "the connections to be over")
            assert {end["code"] for end in server.events("end")} == {"98"}

    @DOUBLES
    @pytest.mark.parametrize("words", ["sign-server sign-server", "sign-often-server"])
    def test_one_signature_and_no_more(pki, words):
        """The one request that a handshake needs is served, so that this test can see; nothing behind it is."""
        with taken_over(pki, "hostile", {"HOSTILE": words}) as server:
            for _ in range(3):
                with server.connect() as sock:
                    assert received(sock).count(b"signed") <= 1
        with taken_over(pki, "hostile", {"HOSTILE": "sign-server"}) as server:
            with server.connect() as sock:
                assert received(sock) == b"signeddone"


@DOUBLES
@pytest.mark.parametrize("words", ["unknown", "up", "end", "fault", "close", "long"])
def test_engine_that_is_bad_before_it_is_ready(pki, words):
    """Where the first engine is, the server does not begin: one line, and nothing is left."""
    program = [os.path.join(FOLDER, "s6-tlsserver-hostile")]
    code, _ = refused(pki, program=program, env={"EARLY": words})
    assert code in (97, 98, 111)


@DOUBLES
@pytest.mark.parametrize("words", ["unknown", "fault", "close", "ready"])
def test_engine_that_is_bad_without_a_connection(pki, words):
    """It is replaced, a few times at once and then not more often than every second; that is said once."""
    with taken_over(pki, "hostile", {"EARLY": f"ready {words}"}) as server:
        server.event("exit")
        wait_quiet(server.pid)
        few = len(server.events("fork"))
        assert few < 10
        wait_for(lambda: len(server.events("fork")) >= few + 4, "it to be tried again, twice")
        told = [line for line in server.lines("warning") if "engines end before they have a connection" in line]
        assert len(told) == 1

"""s6-tlsserver: when it is told to end, when something of it is killed, and when the system has no room."""

import contextlib
import os
import resource
import shutil
import signal
import ssl
import tempfile
import threading
import time

import pytest

from harness import (ABLE, LIMIT, SANITIZED, Blob, Fifo, alive, children, cpu_ms, python, survivors, wait_for, wait_quiet,
                     wire_end)
from server import TLSSERVER, Server, echoed, leave, many, refused, serving


@contextlib.contextmanager
def ending(pki, prog, options=(), **kw):
    """A Server that the test itself ends: with 0, no warning that the test does not take, and nothing left."""
    with Server(pki, prog, options, **kw) as server:
        yield server
        assert server.wait() == 0, server.text()
        wait_for(lambda: not survivors(server.pid), "the last process")
        assert server.warnings() == []


def nobody_listens(server):
    """Waits for the end of the listening socket, without a connection that would come before it."""
    def gone():
        with open("/proc/net/tcp") as f:
            return not any(f":{server.port:04X} 00000000:0000 0A" in line for line in f)
    wait_for(gone, "the listening socket to be closed")
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def ended(client):
    """How the client's connection ended, which it must, without a close_notify."""
    client.read_all()
    client.close()
    assert client.end in ("fin", "reset") or client.end.startswith("alert"), client.end
    return client.end


# -- signals ------------------------------------------------------------------------------

def test_term_lets_connections_finish(pki, version):
    """SIGTERM closes the listening socket; those who are there go on as long as they like; then it exits 0."""
    with ending(pki, ["cat"]) as server:
        clients = [server.client(version) for _ in range(3)]
        server.proc.terminate()
        nobody_listens(server)
        wait_for(lambda: not server.spares(), "spare engines to end")
        assert all(echoed(client) for client in clients)
        for client in clients:
            assert server.proc.poll() is None
            leave(client)


def test_term_lets_a_handshake_finish(pki, version):
    """A connection that has been accepted is one that is there."""
    with ending(pki, ["cat"]) as server:
        client = server.begin(version)
        server.event("accept", peer=client.peername)
        server.proc.terminate()
        nobody_listens(server)
        client.handshake()
        assert echoed(client)
        leave(client)


def test_term_to_all_lets_a_handshake_finish(pki, version):
    """The signers that it needs are of the same group."""
    with ending(pki, ["cat"]) as server:
        client = server.begin(version)
        server.event("accept", peer=client.peername)
        os.killpg(server.pid, signal.SIGTERM)
        nobody_listens(server)
        wait_quiet(server.pid, *children(server.pid))
        client.handshake()
        assert echoed(client)
        leave(client)


def test_term_without_connections(pki):
    with ending(pki, ["cat"]) as server:
        server.proc.terminate()


def test_second_term_ends_connections(pki, version):
    """Each ends as after a failure, prog gets SIGTERM, and the server exits 0."""
    with ending(pki, ["cat"]) as server:
        clients = [server.client(version) for _ in range(3)]
        silent = server.begin()
        server.event("accept", peer=silent.peername)
        progs = [server.prog(client) for client in clients]
        server.proc.terminate()
        nobody_listens(server)
        server.proc.terminate()
        for client in clients:
            ended(client)
        assert not any(alive(prog) for prog in progs) or server.wait() == 0
        silent.read_all()
        server.wait()
        server.pass_over(f"peer={silent.peername} ")


@pytest.mark.parametrize("signum", [signal.SIGQUIT, signal.SIGINT])
def test_quit_ends_all(pki, version, signum):
    """At once, and exits 0."""
    with ending(pki, ["cat"]) as server:
        clients = [server.client(version) for _ in range(3)]
        server.proc.send_signal(signum)
        for client in clients:
            ended(client)


def test_hangup_ends_connections_and_goes_on(pki, version):
    """SIGHUP, twice: all that are there, and no one that comes."""
    with serving(pki, ["cat"]) as server:
        for _ in range(2):
            clients = [server.client(version) for _ in range(3)]
            assert all(echoed(client) for client in clients)
            server.proc.send_signal(signal.SIGHUP)
            for client in clients:
                ended(client)
            server.at_rest()
            after = server.client(version)
            assert echoed(after)
            leave(after)


STUBBORN = python("""
import signal
for signum in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
    signal.signal(signum, signal.SIG_IGN)
os.write(1, b"x")
signal.pause()
""")


def test_abort_kills_all(pki):
    """SIGABRT leaves nothing, not even a prog that ignores all else."""
    with Server(pki, STUBBORN) as server:
        clients = [server.client() for _ in range(3)]
        assert all(client.read_exactly(1) == b"x" for client in clients)
        server.proc.send_signal(signal.SIGABRT)
        server.wait(LIMIT / 4)
        wait_for(lambda: not survivors(server.pid), "the last process", LIMIT / 4)


def test_prog_that_ignores_the_end(pki):
    """A prog that ignores SIGTERM is waited for, its engine gone; a third SIGTERM kills it."""
    with ending(pki, STUBBORN) as server:
        client = server.client()
        assert client.read_exactly(1) == b"x"
        prog, engine = server.prog(client), server.engine(client)
        server.proc.send_signal(signal.SIGQUIT)
        ended(client)
        wait_for(lambda: not alive(engine), "the engine to go")
        assert alive(prog) and server.proc.poll() is None
        server.proc.send_signal(signal.SIGTERM)


def test_signal_to_all(pki, version):
    """What comes to the whole group, as from a terminal, ends it as the server's own does."""
    for signum in signal.SIGINT, signal.SIGTERM, signal.SIGQUIT:
        with ending(pki, ["cat"]) as server:
            client = server.client(version)
            assert echoed(client)
            os.killpg(server.pid, signum)
            client.read_all()
            client.close()


def test_stopped_and_continued(pki, version):
    """SIGSTOP and SIGCONT of all of it change nothing."""
    with serving(pki, ["cat"]) as server:
        client = server.client(version)
        assert echoed(client)
        os.killpg(server.pid, signal.SIGSTOP)
        other = server.begin(version)
        client.send(b"meanwhile")
        os.killpg(server.pid, signal.SIGCONT)
        assert client.read_exactly(9) == b"meanwhile"
        other.handshake()
        leave(client)
        leave(other)


# -- what is killed ---------------------------------------------------------------------------

def test_engine_is_killed(pki, tmp_path, version):
    """Its connection is over, prog reads EOF, and that is told once; all others go on."""
    told = Fifo(tmp_path / "told")
    with serving(pki, ["sh", "-c", 'cat; echo eof >"$0"', told.path]) as server:
        one, other = server.client(version), server.client(version)
        assert echoed(one) and echoed(other)
        os.kill(server.engine(one), signal.SIGKILL)
        assert ended(one)
        assert told.get() == "eof"
        server.warning(f"peer={one.peername} engine died \\(signal 9\\)$")
        end = server.event("end", peer=one.peername)
        assert (end["code"], end["how"]) == ("98", "engine-died")
        assert echoed(other)
        leave(other)
        assert told.get() == "eof"


def test_spare_engines_are_killed(pki):
    """They are replaced, and the next connection is served."""
    with serving(pki, ["echo", "hi"]) as server:
        wait_for(lambda: len(server.spares()) == 2, "spare engines")
        for pid in server.spares():
            os.kill(pid, signal.SIGKILL)
            server.event("exit", engine=str(pid))
        assert server.ask() == b"hi\n"
        wait_for(lambda: len(server.spares()) == 2, "spare engines")
        server.pass_over("engines end before they have a connection")


def test_engine_is_killed_in_its_handshake(pki, version):
    with serving(pki, ["cat"]) as server:
        client = server.begin(version)
        os.kill(server.engine(client), signal.SIGKILL)
        wire_end(client.sock)
        server.warning(f"peer={client.peername} engine died")
        assert server.event("end", peer=client.peername)["code"] == "98"


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_prog_is_killed(pki, tmp_path, version, signum):
    """Its bytes come first; then the end, 128 and the signal."""
    blob = Blob(tmp_path / "blob", 3_000_000)
    with serving(pki, ["sh", "-c", f'cat "$0"; kill -{int(signum)} $$', blob.path]) as server:
        other = server.client(version)
        client = server.client(version)
        assert client.read_all() == blob.data
        client.close()
        assert server.event("end", peer=client.peername)["code"] == str(128 + signum)
        assert other.read_all() == blob.data


# What may be said meanwhile.
UNSIGNED = r"^(no signer is ready|a signer takes no engine: [\w ]+); connections wait$"

if ABLE.signs_elsewhere:
    def test_signers_are_killed(pki, version):
        """Those who wait for a signature of theirs are lost; connections are not, and others take their places."""
        with serving(pki, ["cat"], ["--linger=0"]) as server:
            before = server.signers()
            assert before
            up = server.client(version)
            waiting = [server.begin(version) for _ in before]
            for client in waiting:
                server.event("accept", peer=client.peername)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            for _ in before:
                server.warning("^a signer died; another signer will take its place$")
            after = server.client(version)
            assert echoed(after) and echoed(up)
            for client in waiting:
                with contextlib.suppress(Exception):
                    client.handshake()
                    pytest.fail("a handshake without a signature")
                server.warning(f"peer={client.peername} ")
            wait_for(lambda: len(server.signers()) == len(before), "new signers")
            assert not set(server.signers()) & set(before)
            leave(after)
            leave(up)
            server.pass_over(UNSIGNED)

    def test_one_signer_is_killed(pki):
        """Again and again: each time another comes, and connections are served."""
        with serving(pki, ["echo", "hi"]) as server:
            server.at_rest()
            living = server.signers()
            for n in range(1, 6):
                os.kill(living.pop(0), signal.SIGKILL)
                server.warning("^a signer died; another signer will take its place$")
                assert server.ask() == b"hi\n"
                wait_for(lambda n=n: len(server.events("ready")) == n, "another signer")
                living.append(int(server.events("ready")[-1]["signer"]))
            server.pass_over(UNSIGNED)


def test_kills_under_load(pki):
    """Of engines, progs and signers, in mid-load: no client fails whose own was not hit, and the server goes on."""
    size = 100_000
    with serving(pki, ["head", "-c", str(size), "/dev/zero"]) as server:
        counts, failed, over = [0] * 3, [], threading.Event()

        def load(n):
            while not over.is_set():
                try:
                    client = server.client()
                    if len(client.read_all()) != size:
                        failed.append(client.end)
                    client.close()
                except Exception as e:
                    failed.append(repr(e))
                counts[n] += 1

        threads = [threading.Thread(target=load, args=(n,)) for n in range(len(counts))]
        for thread in threads:
            thread.start()
        killed = 0
        for _ in range(many(100, 20)):
            goal = sum(counts) + 3
            for pids in (server.signers() if ABLE.signs_elsewhere else []), server.engines():
                if pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pids[-1], signal.SIGKILL)
                        killed += 1
            wait_for(lambda: sum(counts) >= goal, "clients to be served")
        over.set()
        for thread in threads:
            thread.join()
        # A signer that is killed may have been about to answer as many as there are clients.
        assert len(failed) <= killed * len(threads), failed
        server.at_rest()
        server.pass_over("a signer died; another|engine died|engines end before|there is no engine|signature"
                         "|no signer is"
                         "|TLS failed|a signer takes no engine")
        for _ in range(5):
            assert len(server.ask()) == size


def test_listener_is_killed(pki, tmp_path, version):
    """Nothing is left behind: engines and signers end, clients see it, progs read EOF."""
    told = Fifo(tmp_path / "told")
    with Server(pki, ["sh", "-c", 'cat; echo eof >"$0"', told.path]) as server:
        clients = [server.client(version) for _ in range(3)]
        silent = server.begin()
        server.event("accept", peer=silent.peername)
        assert all(echoed(client) for client in clients)
        os.kill(server.pid, signal.SIGKILL)
        for client in clients:
            assert client.read_all() == b""
            assert client.end in ("fin", "reset")
            assert told.get() == "eof"
        assert silent.read_all() == b""
        wait_for(lambda: not survivors(server.pid), "the last process")


def test_listener_is_killed_before_there_is_a_key(pki, tmp_path):
    """Signers that wait for their key end as well."""
    os.mkfifo(tmp_path / "key")
    with Server(pki, ["cat"], env={"KEYFILE": str(tmp_path / "key")}, ready=False) as server:
        if ABLE.signs_elsewhere:
            wait_for(lambda: children(server.pid), "signers")
        wait_quiet(server.pid, *children(server.pid))
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: not survivors(server.pid), "the last process")


# -- no room ------------------------------------------------------------------------------------

def test_too_few_descriptors(pki):
    """A limit that is too low for -c is told of at the start."""
    code, message = refused(pki, ["-c1000"], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)))
    assert code == 111
    assert message.startswith("-c 1000 needs ")
    assert message.endswith(" open files, and the limit (RLIMIT_NOFILE) is 100")


def test_soft_limit_is_raised(pki):
    """What the hard limit allows is taken, and serves as many as were asked for."""
    def preexec():
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 200))

    with serving(pki, ["sh", "-c", "ulimit -n; exec cat"], ["-c60"], preexec_fn=preexec) as server:
        clients = [server.client() for _ in range(60)]
        for client in clients:
            assert client.read_exactly(3) == b"20\n"
        for client in clients:
            leave(client)


def test_most_connections_with_as_few_descriptors_as_will_do(pki):
    """Where the limit is just what -c needs, as many are served at once."""
    def limited(n):
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))

    _, message = refused(pki, ["-c20", "-h"], preexec_fn=limited(30))
    needed = int(message.split()[3])
    with serving(pki, ["cat"], ["-c20", "-h"], preexec_fn=limited(needed)) as server:
        clients = [server.client() for _ in range(20)]
        for client in clients:
            assert echoed(client)
        for client in clients:
            leave(client)


@pytest.fixture
def public(pki):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        env = dict(zip(("KEYFILE", "CERTFILE"), pki.server.files(folder, "server")))
        os.chmod(env["KEYFILE"], 0o644)
        yield {"program": [shutil.copy2(TLSSERVER, folder)], "env": env, "cwd": "/"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a uid that nobody else has")
@pytest.mark.skipif(SANITIZED, reason="a leak checker needs a process of its own")
@pytest.mark.parametrize("more", [2, 5, 12])
def test_no_more_processes(pki, public, more):
    """With room for few processes beside its own: it says so once, and every client is served in the end."""
    uid = 61200 + os.getpid() % 4000

    def preexec():
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)

    limit = 1 + ABLE.signs_elsewhere * min(4, len(os.sched_getaffinity(0))) + more
    with serving(pki, ["cat"], ["--spare=1"], preexec_fn=preexec, **public) as server:
        failed = []

        def visit():
            try:
                client = server.client()
                assert echoed(client)
                leave(client)
            except Exception as e:
                failed.append(repr(e))

        threads = [threading.Thread(target=visit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        server.at_rest()
        if server.lines("warning"):
            server.pass_over("^cannot fork: Resource temporarily unavailable; connections wait$"
                             "|^(pid=.* )?cannot run cat now: Resource temporarily unavailable; connections wait$")
        # More than once only where something went well in between.
        assert len(server.lines("warning")) <= 16


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a uid that nobody else has")
@pytest.mark.skipif(SANITIZED, reason="a leak checker needs a process of its own")
def test_no_process_for_any_prog(pki, public):
    """Where all that are in wait for a prog and none runs, the one that came last makes way."""
    uid = 70000 + os.getpid()

    def preexec():
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)

    limit = 1 + ABLE.signs_elsewhere * min(4, len(os.sched_getaffinity(0))) + 2
    with serving(pki, ["cat"], ["--spare=0"], preexec_fn=preexec, **public) as server:
        first = server.begin()
        server.event("accept", peer=first.peername)
        second = server.begin()
        server.event("accept", peer=second.peername)
        second.handshake()
        first.handshake()
        server.warning(f"peer={second.peername} there is no room for prog, and others wait for it too$")
        assert server.event("end", peer=second.peername)["code"] == "111"
        assert echoed(first)
        leave(first)
        server.at_rest()
        server.pass_over("^(pid=.* )?cannot (run cat now|fork): Resource temporarily unavailable; connections wait$")


def test_descriptors_run_out(pki):
    """When the listener has none left connections wait, which is said once and costs no CPU; then they are served."""
    with serving(pki, ["cat"], ["--spare=0"]) as server:
        leave(server.client())
        server.at_rest()
        before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        clients = [server.begin() for _ in range(3)]
        server.warning("Too many open files; connections wait$")
        wait_quiet(server.pid)
        used = cpu_ms(server.pid)
        time.sleep(0.5)
        assert SANITIZED or cpu_ms(server.pid) - used < 10
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
        for client in clients:
            assert echoed(client.handshake())
            leave(client)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs address space without bounds")
def test_no_memory_at_the_start(pki):
    """Too little of it is one fatal line, 111 or the loader's 127; never a crash or a hang."""
    found = {}
    for kilobytes in range(4 << 10, 20 << 10, 512):
        limit = kilobytes << 10
        with Server(pki, ["cat"], ["-c9"], ready=False, verbosity=1,
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))) as server:
            if not server.proc.stdout.readline():
                found[kilobytes] = server.wait()
                assert server.text().count("\n") == 1, server.text()
                continue
            found[kilobytes] = 0
            server.proc.terminate()
            server.wait()
    assert set(found.values()) == {0, 111, 127}, found


def visit(server):
    """Whether a connection to a cat comes to a good end."""
    try:
        client = server.client()
        assert echoed(client)
        leave(client)
        return True
    except (ConnectionError, ssl.SSLError, AssertionError):
        return False


@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs address space without bounds")
def test_memory_runs_out(pki):
    """Where engines and progs get none connections wait or fail, but the listener goes on, and serves again."""
    with serving(pki, ["cat"], ["--spare=0", "--linger=0"]) as server:
        leave(server.client())
        server.at_rest()
        before = resource.prlimit(server.pid, resource.RLIMIT_AS)
        resource.prlimit(server.pid, resource.RLIMIT_AS, (4 << 20, before[1]))
        threads = [threading.Thread(target=visit, args=(server,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        server.warning("Cannot allocate memory")
        resource.prlimit(server.pid, resource.RLIMIT_AS, before)
        for thread in threads:
            thread.join()
        assert visit(server)
        server.at_rest()
        server.pass_over(".")

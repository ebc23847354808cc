"""s6-tlsserver: what a connection costs, and that nothing is left of many."""

import contextlib
import os
import re
import signal
import time

import pytest

from harness import (BACKEND, SANITIZED, children, client_context, cpu_ms, measures_memory, status_of, wait_for,
                     wait_quiet)
from server import TLSSERVER, Server, echoed, leave, many, serving

# Most page faults of an engine, and its private memory in kB, where the backend's library is what they are meant for.
FAULTS, PRIVATE_KB = 100, 400


def settle(server, spares=2):
    server.at_rest()
    wait_for(lambda: len(server.spares()) == spares, "spare engines")
    wait_quiet(server.pid)


def anonymous(pid):
    return int(status_of(pid, "RssAnon").split()[0])


def belongings(server):
    """What the listener has: children, and what its descriptors are."""
    fds = [os.readlink(f"/proc/{server.pid}/fd/{n}").split(":")[0] for n in os.listdir(f"/proc/{server.pid}/fd")]
    return len(children(server.pid)), sorted(fds)


def quiet(server):
    """Until no connection is left, by what there is of processes: nothing is told of them."""
    wait_for(lambda: not any(comm(pid) in ("cat", "true") for pid in children(server.pid)), "all progs to be gone")
    wait_quiet(server.pid)


def comm(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/comm") as f:
        return f.read().strip()


# -- what is left ---------------------------------------------------------------------

def visit(server, count, prog):
    for _ in range(count):
        client = server.client(context=server.context)
        if prog == "cat":
            assert echoed(client)
            client.fin()
        client.read_all()
        client.close()
        server.clients.clear()


@measures_memory
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look into the listener")
@pytest.mark.parametrize("prog", ["cat", "true"])
def test_one_after_another(pki, prog):
    """None fails, and no process, descriptor or kB is left in the listener."""
    count = many(10_000, 1000 if prog == "cat" else 100)
    with serving(pki, [prog], ["-D"], verbosity=1) as server:
        server.context = client_context(pki)
        visit(server, 50, prog)
        quiet(server)
        before, memory = belongings(server), anonymous(server.pid)
        visit(server, count, prog)
        quiet(server)
        wait_for(lambda: belongings(server) == before, "all to be as before")
        assert anonymous(server.pid) - memory <= 64


@measures_memory
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look into the listener")
def test_many_at_once(pki):
    """Ten times: as many as there are, each answers; and nothing is left of them."""
    count, times = 200, many(10, 1)
    with serving(pki, ["cat"], ["-D", f"-c{count}"]) as server:
        context = client_context(pki)

        def crowd():
            clients = [server.begin(context=context) for _ in range(count)]
            for client in clients:
                client.handshake()
            for client in clients:
                assert echoed(client)
            assert server.live() == count
            for client in clients:
                leave(client)
            server.clients.clear()
            settle(server)
        crowd()
        before, memory = belongings(server), anonymous(server.pid)
        for _ in range(times):
            crowd()
        wait_for(lambda: belongings(server) == before, "all to be as before")
        assert anonymous(server.pid) - memory <= 64


def test_clients_that_fail(pki):
    """Nor is anything left of those that hang up anywhere in the handshake, or talk nonsense."""
    with serving(pki, ["cat"], ["--linger=0"]) as server:
        def fail():
            client = server.begin()
            with contextlib.suppress(Exception):
                client.tls.do_handshake()
            hello = client.outbound.read()
            client.close()
            places = many(range(len(hello) + 1), sorted({*range(8), *range(8, len(hello), 61), len(hello) - 1, len(hello)}))
            pieces = [hello[:n] for n in places]
            for sent in *pieces, b"GET / HTTP/1.0\r\n\r\n", bytes(100):
                for reset in False, True:
                    client = server.begin()
                    client.sock.sendall(sent)
                    client.reset() if reset else client.close()
        fail()
        settle(server)
        before = len(children(server.pid))
        for _ in range(many(50, 3)):
            fail()
        settle(server)
        wait_for(lambda: len(children(server.pid)) <= before, "all to be as before")
        after = server.client()
        leave(after)
        ends = server.events("end")
        assert len(ends) == len(server.events("accept")) or wait_for(
            lambda: len(server.events("end")) == len(server.events("accept")), "an end for each")
        server.pass_over("^pid=")


def test_idle_connections(pki):
    """As many as there are time and room for, held without a byte; at rest they cost nothing; then all answer."""
    count, seconds = many(1000, 60), many(60, 1)
    with serving(pki, ["cat"], ["-D", f"-c{count}"]) as server:
        context = client_context(pki)
        clients = [server.client(context=context) for _ in range(count)]
        wait_quiet(server.pid, *server.engines())
        time.sleep(seconds)
        for client in clients:
            assert echoed(client)
        for client in clients:
            leave(client)


# -- what it costs ----------------------------------------------------------------------

@pytest.mark.skipif(SANITIZED, reason="the leak checker does not work under strace")
@pytest.mark.parametrize("spare", [0, 2])
def test_processes_and_execs(pki, tmp_path, spare):
    """A connection is two processes, engine and prog, and one exec."""
    def traced(count):
        trace = tmp_path / f"trace{count}"
        strace = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=clone,clone3,fork,vfork,execve,execveat"]
        with Server(pki, ["echo", "hi"], [f"--spare={spare}"], program=[*strace, TLSSERVER]) as server:
            for _ in range(count):
                assert server.ask() == b"hi\n"
            wait_for(lambda: len(server.events("end")) == count and len(server.spares()) >= spare, "all to be over")
            os.kill(int(server.event("start")["pid"]), signal.SIGTERM)
            assert server.wait() == 0
        text = trace.read_text()
        # A call that was interrupted has two lines, of which the second has the result.
        forks = re.findall(r"(?:clone3?|v?fork)(?:\(.*| resumed.*)= [1-9]\d*$", text, flags=re.M)
        execs = re.findall(r"execve(?:at)?(?:\(.*| resumed.*)= 0$", text, flags=re.M)
        return len(forks), len(execs)
    few, more = traced(2), traced(12)
    assert ((more[0] - few[0]) / 10, (more[1] - few[1]) / 10) == (2, 1)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is its own")
def test_page_faults(pki, version):
    """An engine makes at most so many, aside from pages that were made ready for it in bulk."""
    with serving(pki, ["cat"]) as server:
        for _ in range(5):
            client = server.client(version)
            assert echoed(client)
            engine = server.engine(client)
            leave(client)
            faults = int(server.event("exit", engine=str(engine))["faults"])
            populated = int(server.event("fork", engine=str(engine)).get("populated", 0))
            assert faults - populated <= FAULTS, (faults, populated)


if BACKEND == "openssl":
    @measures_memory
    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look into an engine")
    def test_private_memory_of_an_idle_engine(pki, version):
        """What it shares with nobody, once its connection is up and at rest."""
        with serving(pki, ["cat"], ["-c20"]) as server:
            clients = [server.client(version) for _ in range(10)]
            for client in clients:
                assert echoed(client)
            engines = [server.engine(client) for client in clients]
            wait_quiet(*engines)
            for engine in engines:
                with open(f"/proc/{engine}/smaps_rollup") as f:
                    private = sum(int(line.split()[1]) for line in f if line.startswith("Private_"))
                assert private <= PRIVATE_KB
            for client in clients:
                leave(client)


def assert_no_cpu(server):
    """None of its processes spins."""
    pids = [server.pid, *server.signers(), *server.engines()]
    wait_quiet(*pids)
    used = cpu_ms(*pids)
    time.sleep(1)
    # The listener looks at its files four times a second; a tick of the clock is 10 ms.
    assert cpu_ms(*pids) - used <= 10


def test_waiting_costs_no_cpu(pki):
    """Nor where a client waits for a place, nor behind SIGTERM, while who is there stays."""
    with Server(pki, ["cat"], ["-c1"]) as server:
        up = server.client()
        assert echoed(up)
        waits = server.begin()
        assert_no_cpu(server)
        server.proc.terminate()
        waits.close()
        wait_for(lambda: not server.spares(), "spare engines to end")
        assert_no_cpu(server)
        leave(up)
        assert server.wait() == 0


def test_rest_costs_no_cpu(pki):
    """With connections in every state, and without any, neither the listener nor a signer or engine spins."""
    with serving(pki, ["cat"]) as server:
        silent, up, half = server.begin(), server.client(), server.client()
        half.fin()
        half.read_all()
        server.event("accept", peer=silent.peername)
        assert_no_cpu(server)
        leave(up)
        silent.close()
        half.close()
        server.warning(f"peer={silent.peername} ")

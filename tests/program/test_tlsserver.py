"""s6-tlsserver: where it listens, how it says so, what prog gets, who may connect, and how many."""

import contextlib
import hashlib
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import pytest

from apart import Dns, apart, command, routed
from harness import LIMIT, SANITIZED, Client, Fifo, children, python, status_of, wait_for, wait_quiet
from server import TLSSERVER, Server, echoed, leave, refused, serving
from test_environment import INVALID, LONG_LISTS, a_hundred_keys

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root has privileges to drop")

# A prog that tells what it is.
SELF = """
import json, resource, signal
fds = {}
for n in os.listdir("/proc/self/fd"):
    try:
        fds[n] = os.readlink("/proc/self/fd/" + n)
    except OSError:
        pass
with open("/proc/self/status") as f:
    status = dict(line.rstrip("\\n").split(":\\t", 1) for line in f if ":\\t" in line)
print(json.dumps({"env": dict(os.environ), "fds": fds, "status": status, "pid": os.getpid(),
                  "files": resource.getrlimit(resource.RLIMIT_NOFILE), "cwd": os.getcwd()}))
"""
TELL = python(SELF)


def told(server, version=None, **kw):
    return json.loads(server.ask(version, **kw))


# -- what prog gets --------------------------------------------------------------

INHERITED = {name: "inherited" for name in (
    "PROTO", "TCPLOCALIP", "TCPLOCALPORT", "TCPLOCALHOST", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPREMOTEHOST",
    "TCPREMOTEINFO", "TCPCONNNUM", "SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI_SERVERNAME", "SSL_PEER_CERT_HASH",
    "SSL_PEER_CERT_SUBJECT", "OTHER")}


def test_variables(pki, version):
    """Both ends of the connection by number, how many there are of the client, what the session is, and no more."""
    with serving(pki, TELL, env=INHERITED) as server:
        client = server.client(version)
        env = json.loads(client.read_all())["env"]
        host, port = client.sock.getsockname()
        assert {name: env.pop(name) for name in ("PROTO", "TCPLOCALIP", "TCPLOCALPORT", "TCPREMOTEIP", "TCPREMOTEPORT",
                                                 "TCPCONNNUM", "SSL_PROTOCOL", "SSL_TLS_SNI_SERVERNAME", "OTHER")} == {
            "PROTO": "TCP", "TCPLOCALIP": "127.0.0.1", "TCPLOCALPORT": str(server.port), "TCPREMOTEIP": host,
            "TCPREMOTEPORT": str(port), "TCPCONNNUM": "1", "SSL_PROTOCOL": f"TLSv{version}",
            "SSL_TLS_SNI_SERVERNAME": "localhost", "OTHER": "inherited"}
        assert env.pop("SSL_CIPHER").startswith("TLS_")
        ours = "TCP", "SSL", "TLS", "KEY", "CERT", "CA", "LISTEN", "NOTIFY"
        assert not [name for name in env if name.startswith(ours)]
        client.close()


def test_variables_of_a_client_with_a_certificate(pki, version):
    with serving(pki, TELL, ["-Y"], env={"CAFILE": pki.cafile}) as server:
        env = told(server, version, identity=pki.client)["env"]
        assert env["SSL_PEER_CERT_SUBJECT"] == "CN=alice" and env["SSL_PEER_CERT_HASH"].startswith("SHA256:")
        env = told(server, version)["env"]
        assert not {"SSL_PEER_CERT_SUBJECT", "SSL_PEER_CERT_HASH"} & set(env)


def test_a_client_without_a_certificate_is_refused(pki, version):
    """-y, and the server goes on."""
    with serving(pki, ["echo", "ran"], ["-y"], env={"CAFILE": pki.cafile}) as server:
        assert server.ask(version, identity=pki.client) == b"ran\n"
        client = server.begin(version)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            client.handshake()
            assert client.read_all() == b""
        client.close()
        server.warning(f"peer={client.peername} ")
        assert server.ask(version, identity=pki.client) == b"ran\n"


@pytest.mark.parametrize("options, kept", [([], False), (["-Z"], True), (["-Zz"], False)])
def test_our_variables(pki, options, kept):
    """-Z keeps what we read in prog's environment."""
    with serving(pki, TELL, options, env={"KEYFILE:other": "x", "CAFILE": pki.cafile}) as server:
        env = told(server)["env"]
        for name in "KEYFILE", "CERTFILE", "CAFILE", "KEYFILE:other":
            assert (name in env) == kept


@pytest.mark.parametrize("options, kept", [([], False), (["-Z"], True)])
def test_a_hundred_key_variables(pki, options, kept):
    """KEYFILE:x and CERTFILE:x are removed, however many, or under -Z kept, for one connection as for the next."""
    ours, env = a_hundred_keys()
    with serving(pki, TELL, options, env=env) as server:
        for _ in range(2):
            found = told(server)["env"]
            assert {name: found.get(name) for name in env} == {
                name: value if kept or name not in ours else None for name, value in env.items()}


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize("words", LONG_LISTS)
def test_an_argument_list_of_100_kb(pki, tmp_path, words, script):
    """A long argument list reaches prog whole, a script that names no interpreter included."""
    code = "printf '%s\\n' \"$@\" | sha256sum"
    prog = ["sh", "-c", code, "sh"]
    if script:
        (tmp_path / "prog").write_text(code + "\n")
        (tmp_path / "prog").chmod(0o755)
        prog = [str(tmp_path / "prog")]
    expected = hashlib.sha256("".join(word + "\n" for word in LONG_LISTS[words]).encode()).hexdigest()
    with serving(pki, [*prog, *LONG_LISTS[words]]) as server:
        for _ in range(2):
            assert server.ask().decode().split()[0] == expected


def test_descriptors(pki):
    """prog has pipes on 0 and 1, what was inherited, and nothing of ours, beside how many connections whatever."""
    with tempfile.TemporaryFile() as file:
        os.set_inheritable(file.fileno(), True)
        with serving(pki, ["sh", "-c", "read go; exec \"$@\"", "sh", *TELL], pass_fds=[file.fileno()]) as server:
            clients = [server.client() for _ in range(5)]
            for client in clients:
                client.send(b"\n")
                found = json.loads(client.read_all())["fds"]
                assert set(found) == {"0", "1", "2", str(file.fileno())}
                assert found["0"].startswith("pipe:") and found["1"].startswith("pipe:") and found["0"] != found["1"]
                client.close()


def test_standard_descriptors_closed_at_start(pki):
    """Nothing of ours takes their places."""
    for close in "0<&-", "2>&-", "0<&- 2>&-":
        shell = ["bash", "-c", f'exec {close}; exec "$@"', "bash", TLSSERVER]
        with Server(pki, TELL, program=shell) as server:
            found = told(server)["fds"]
            assert set(found) == {"0", "1", "2"}
            assert found["0"].startswith("pipe:") and found["1"].startswith("pipe:")
            server.proc.terminate()
            assert server.wait() == 0


@pytest.mark.parametrize("soft", [100, 200])
def test_limits_and_signals(pki, soft):
    """prog has the limit of open files that we were started with, and signals as they were."""
    def preexec():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, 4096))
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])

    with serving(pki, TELL, preexec_fn=preexec) as server:
        for _ in range(2):
            found = told(server)
            assert found["files"] == [soft, 4096]
            assert int(found["status"]["SigBlk"], 16) == 1 << (signal.SIGALRM - 1)
            # Those that Python itself ignores aside.
            # Python's own; and 32 and 33, which no libc lets a program touch.
            own = [signal.SIGPIPE, signal.SIGXFSZ, 32, 33]
            assert int(found["status"]["SigIgn"], 16) & ~sum(1 << (n - 1) for n in own) == 0
            assert found["status"]["Seccomp"] == status_of("self", "Seccomp")
            assert found["status"]["NoNewPrivs"] == status_of("self", "NoNewPrivs")


IDS = {"UID": "61003", "GID": "61004", "GIDLIST": "61005,61006"}


@ROOT_ONLY
@pytest.mark.parametrize("options, uid, gid, groups", [
    ([], "0", "0", None),
    (["-u61003"], "61003", "0", ""),
    (["-g61004"], "0", "61004", ""),
    (["-u61003", "-g61004"], "61003", "61004", ""),
    (["-u61003", "-g61004", "-G61005,61006"], "61003", "61004", "61005 61006"),
    (["-G61005"], "0", "0", "61005"),
    (["-u61003", "-g61004", "-G", ""], "61003", "61004", ""),
    (["-U"], "61003", "61004", "61005 61006"),
    (["-U", "-u1"], "61003", "61004", "61005 61006"),
])
@pytest.mark.parametrize("engine", [{}, {"TLS_UID": "61001", "TLS_GID": "61002"}], ids=["root", "TLS_UID"])
def test_ids(pki, options, uid, gid, groups, engine):
    """-u, -g, -G and -U: all four ids, and groups; whatever the engine's are."""
    with serving(pki, ["cat", "/proc/self/status"], options, env=IDS | engine) as server:
        status = dict(line.split(":\t", 1) for line in server.ask().decode().splitlines() if ":\t" in line)
        assert status["Uid"].split() == [uid] * 4
        assert status["Gid"].split() == [gid] * 4
        assert groups is None or status["Groups"].split() == groups.split()
        if uid != "0":
            assert status["CapEff"] == status["CapPrm"] == "0" * 16
        else:
            assert status["CapEff"] == status_of("self", "CapEff")
        client = server.begin()
        found = server.engine(client)
        wait_for(lambda: SANITIZED or status_of(found, "Seccomp") == "2", "the seal")
        wait_for(lambda: status_of(found, "Uid").split() == [engine.get("TLS_UID", "0")] * 4, "its ids")
        client.close()
        server.warning("peer=" + client.peername)


@ROOT_ONLY
@pytest.mark.parametrize("env, why", [
    ({"UID": None}, "UID is not set"), ({"GID": None}, "GID is not set"), ({"UID": "root"}, 'UID is "root"'),
    ({"GIDLIST": "1,"}, 'GIDLIST is "1,"'), ({"UID": "-1"}, 'UID is "-1"')])
def test_ids_that_are_none(pki, env, why):
    code, message = refused(pki, ["-U"], env=IDS | env)
    assert code == 100 and why in message


@pytest.fixture(scope="module")
def public(pki):
    """A copy of the program and of the server's files that everybody can read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        env = dict(zip(("KEYFILE", "CERTFILE"), pki.server.files(folder, "server")))
        os.chmod(env["KEYFILE"], 0o644)
        yield {"program": [shutil.copy2(TLSSERVER, folder)], "env": env, "cwd": "/"}


def ordinary(uid=61108):
    """Becomes an ordinary user, when this is not one already."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


@pytest.mark.parametrize("options", [["-u1"], ["-g1"], ["-G1"], ["-U"]])
def test_ids_are_for_root(pki, public, options):
    code, message = refused(pki, options, **public | {"env": public["env"] | IDS}, preexec_fn=ordinary)
    assert (code, message) == (111, "-u, -g, -G and -U are for root")


def test_as_an_ordinary_user(pki, public):
    """All of it works without privileges."""
    with serving(pki, ["cat", "/proc/self/status"], **public, preexec_fn=ordinary) as server:
        uid = "61108" if os.geteuid() == 0 else str(os.geteuid())
        assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n".encode() in server.ask()


# -- where it listens, and how it says so ----------------------------------------------

def test_place_is_told(pki):
    """At -v, in one line, before it is ready."""
    with serving(pki, ["cat"], ["-c7"]) as server:
        start = server.event("start")
        assert (start["local"], start["port"], start["connections"]) == ("127.0.0.1", str(server.port), "7")
        assert start["pid"] == str(server.pid)


@pytest.mark.parametrize("where, hosts, remote", [
    (("0", "0"), ["127.0.0.1", "127.0.0.2"], ["127.0.0.1"] * 2),
    (("0.0.0.0", "0"), ["127.0.0.1"], ["127.0.0.1"]),
    (("::", "0"), ["127.0.0.1", "::1"], ["127.0.0.1", "::1"]),
    (("::1", "0"), ["::1"], ["::1"]),
    (("-6", "0", "0"), ["::1"], ["::1"]),
    (("-4", "localhost", "0"), ["127.0.0.1"], ["127.0.0.1"]),
    (("localhost", "0"), [], []),
    (("127.0.0.77", "0"), ["127.0.0.77"], None),
])
def test_addresses(pki, where, hosts, remote):
    """Numbers, names, 0 and ::, where an IPv4 client is shown as one."""
    with serving(pki, TELL, where=where) as server:
        for n, host in enumerate(hosts):
            env = told(server, host=host)["env"]
            assert env["TCPLOCALIP"] == host
            assert remote is None or env["TCPREMOTEIP"] == remote[n]


def test_port_in_use(pki):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code, message = refused(pki, where=("127.0.0.1", port))
        assert (code, message) == (111, f"cannot listen on 127.0.0.1 port {port}: Address already in use")


def test_port_that_is_none(pki):
    code, message = refused(pki, where=("127.0.0.1", "65536"))
    assert code == 100 and 'the port is a number up to 65535 or a service, not "65536"' in message


@pytest.mark.parametrize("where, why", [
    (("nowhere.invalid", "0"), "cannot resolve nowhere.invalid: "),
    (("127.0.0.1", "no-such-service"), "unknown service no-such-service"),
    (("192.0.2.77", "0"), "cannot listen on 192.0.2.77 port 0: Cannot assign requested address"),
    (("-6", "127.0.0.1", "0"), "cannot resolve 127.0.0.1"),
    (("-4", "::1", "0"), "cannot resolve ::1"),
])
def test_places_that_are_none(pki, where, why):
    code, message = refused(pki, where=where)
    assert code == 111 and why in message


def test_port_can_be_taken_again(pki):
    """Connections of the one before, in TIME_WAIT, are no hindrance."""
    with serving(pki, ["echo", "hi"]) as server:
        assert server.ask() == b"hi\n"
        port = server.port
    with serving(pki, ["echo", "hi"], where=("127.0.0.1", str(port))) as server:
        assert server.port == port and server.ask() == b"hi\n"


def test_notify_fd(pki):
    """A newline when ready, and the end: the port's line and this one are there, and it is nobody else's."""
    r, w = os.pipe()
    with serving(pki, TELL, [f"--notify-fd={w}"], pass_fds=[w]) as server:
        os.close(w)
        assert os.read(r, 10) == b"\n"
        assert os.read(r, 10) == b""
        assert set(told(server)["fds"]) == {"0", "1", "2"}
    os.close(r)


def test_nothing_is_said_before_all_is_in_order(pki):
    """A certificate that is none: neither the port nor the newline, and no READY."""
    r, w = os.pipe()
    code, message = refused(pki, [f"--notify-fd={w}"], env={"CERTFILE": pki.cafile}, pass_fds=[w])
    os.close(w)
    assert code == 96 and "does not belong to" in message
    assert os.read(r, 10) == b""
    os.close(r)


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_socket(pki, tmp_path, abstract):
    """READY=1 to a path or an abstract name; prog does not get the variable."""
    name = f"@tlsserver-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(LIMIT)
        with serving(pki, TELL, env={"NOTIFY_SOCKET": name}) as server:
            assert "READY=1" in manager.recv(100).decode().split("\n")
            assert "NOTIFY_SOCKET" not in told(server)["env"]


def test_notify_socket_of_nobody(pki, tmp_path):
    """One that is not there is warned of, and all goes on."""
    with serving(pki, ["echo", "hi"], env={"NOTIFY_SOCKET": str(tmp_path / "none")}) as server:
        server.warning("NOTIFY_SOCKET: cannot say that all is ready: No such file or directory")
        assert server.ask() == b"hi\n"


@pytest.mark.parametrize("family, host", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_listen_fd(pki, family, host):
    """A socket that is there, and prog gets no copy of it."""
    with socket.create_server((host, 0), family=family) as listener:
        fd = listener.fileno()
        with serving(pki, TELL, [f"--listen-fd={fd}"], where=(), pass_fds=[fd]) as server:
            assert server.port == listener.getsockname()[1]
            found = told(server, host=host)
            assert set(found["fds"]) == {"0", "1", "2"}
            assert found["env"]["TCPREMOTEIP"] == host


# Runs its arguments with LISTEN_PID of its own, the descriptors named before them from 3 on.
ACTIVATE = python("""
n, command = int(sys.argv[1]), sys.argv[2:]
for i, fd in enumerate(command[:n]):
    os.dup2(int(fd), 100 + i)
    os.close(int(fd))
for i in range(n):
    os.dup2(100 + i, 3 + i)
    os.close(100 + i)
os.environ["LISTEN_PID"] = os.environ.get("PRETEND") or str(os.getpid())
os.execv(command[n], command[n:])
""")


def activated(*sockets):
    fds = [s.fileno() for s in sockets]
    return {"program": [*ACTIVATE, str(len(fds)), *map(str, fds), TLSSERVER], "pass_fds": fds}


def test_sockets_of_a_service_manager(pki):
    """LISTEN_FDS: two of them, of both families; prog gets neither the sockets nor the variables."""
    with (socket.create_server(("127.0.0.1", 0)) as four,
          socket.create_server(("::1", 0), family=socket.AF_INET6) as six):
        env = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
        with serving(pki, TELL, where=(), env=env, **activated(four, six)) as server:
            assert server.port == four.getsockname()[1]
            for listener in four, six, four:
                host, server.port = listener.getsockname()[:2]
                found = told(server, host=host)
                assert found["env"]["TCPLOCALIP"] == host
                assert set(found["fds"]) == {"0", "1", "2"}
                assert not [name for name in found["env"] if name.startswith("LISTEN_")]


def test_sockets_for_somebody_else(pki):
    """LISTEN_PID is another's: ip and port are needed, and the socket is an ordinary descriptor."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with serving(pki, TELL, env={"LISTEN_FDS": "1", "PRETEND": "1"}, **activated(listener)) as server:
            assert server.port != listener.getsockname()[1]
            assert told(server)["fds"].keys() == {"0", "1", "2", "3"}


def test_sockets_that_are_none(pki):
    with tempfile.TemporaryFile() as file, socket.socket() as unbound:
        for what in file, unbound:
            fd = what.fileno()
            code, message = refused(pki, [f"--listen-fd={fd}"], where=(), pass_fds=[fd])
            assert (code, message) == (100, f"fd {fd} is no listening TCP socket")
    code, message = refused(pki, ["--listen-fd=77"], where=())
    assert (code, message) == (111, "fd 77, where a listening socket should be, is closed")


def test_socket_stays_with_whoever_gave_it(pki):
    """What waits at a socket that was handed over is served by the next one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        with serving(pki, ["echo", "first"], [f"--listen-fd={fd}"], where=(), pass_fds=[fd]) as server:
            assert server.ask() == b"first\n"
            port = server.port
        waiting = socket.create_connection(("127.0.0.1", port), LIMIT)
        with serving(pki, ["echo", "second"], [f"--listen-fd={fd}"], where=(), pass_fds=[fd]) as server:
            client = Client(waiting, pki).handshake()
            assert client.read_all() == b"second\n"
            client.close()


@pytest.mark.parametrize("env, code, why", [
    ({"KEYFILE": None}, 100, "KEYFILE is not set"),
    ({"CERTFILE": None}, 100, "CERTFILE is not set"),
    ({"KEYFILE": "/nowhere"}, 111, "KEYFILE /nowhere"),
    ({"CERTFILE": "/nowhere"}, 111, "CERTFILE /nowhere"),
    ({"CERTFILE": "client"}, 96, "does not belong to"),
    ({"KEYFILE": "/"}, 111, "KEYFILE /"),
    ({"CERTFILE": "/dev/null"}, 96, "CERTFILE /dev/null"),
    ({"TLS_UID": "x", "TLS_GID": "1"}, 100, "TLS_UID"),
])
def test_what_is_wrong_is_found_at_the_start(pki, env, code, why):
    """With the codes of s6-tlsd, in one line, and nothing is left behind."""
    if "TLS_UID" in env and os.geteuid() != 0:
        return
    env = {name: pki.client.certfile if value == "client" else value for name, value in env.items()}
    found, message = refused(pki, env=env)
    assert found == code and why in message


def test_nothing_but_numbers_of_descriptors(pki):
    """Descriptors that are not open are told of."""
    code, message = refused(pki, ["--log-fd=77"])
    assert code == 100 and "--log-fd=77 is not open" in message


def test_prog_that_cannot_be_run(pki, version):
    """111 for the connection, told once, with its peer; the client sees a clean end; the server goes on."""
    with serving(pki, ["/nowhere/prog"]) as server:
        for _ in range(2):
            client = server.client(version)
            assert client.read_all() == b""
            client.close()
            server.warning(f"peer={client.peername} cannot run /nowhere/prog: No such file or directory")
            assert server.event("end", peer=client.peername)["code"] == "111"


def test_invalid_server_names(pki):
    """What is no DNS name reaches neither prog nor the log, and the connection works."""
    with serving(pki, ["env", "-0"]) as server:
        for name in INVALID:
            before = len(server.text())
            found = server.ask(sni=name.encode())
            assert b"SSL_PROTOCOL=" in found and b"SSL_TLS_SNI_SERVERNAME=" not in found, name
            log = server.text()[before:]
            assert "event=handshake" in log and " sni=" not in log, name
            assert all(line.startswith("s6-tlsserver: ") and line.isprintable() for line in log.split("\n")[:-1]), name
            assert len(name) < 5 or name not in log


# -- what is told of connections -------------------------------------------------------

def test_lines_of_a_connection(pki, version):
    """At -v: the start, n/max as connections come and go, and s6-tlsd's two lines, each with pid and peer."""
    with serving(pki, ["cat"], ["-c9"], verbosity=2) as server:
        client = server.client(version)
        assert echoed(client)
        leave(client)
        end = server.event("end")
        lines = wait_for(lambda: len(server.lines()) == 5 and server.lines(), "five lines")
        pid = end["pid"]
        place = rf"local=127\.0\.0\.1 port={server.port}"
        assert re.fullmatch(rf"event=start pid={server.pid} {place} connections=9", lines[0])
        assert lines[1] == "status: 1/9" and lines[4] == "status: 0/9"
        about = f"pid={pid} peer={client.peername} "
        assert lines[2].startswith(f"{about}event=handshake protocol=TLSv{version} cipher=TLS_")
        assert re.fullmatch(rf"{about}event=end by=\S+ how=\S+ in=1 out=1 ms=\d+ code=0", lines[3])


@pytest.mark.parametrize("option", ["-q", "-Q", "-v"])
def test_verbosity(pki, option):
    """-q is silent about a connection that fails, -Q warns, -v tells of all."""
    with Server(pki, ["cat"], [option], verbosity=1) as server:
        client = server.connect()
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while client.recv(100):
            pass
        client.close()
        done = server.client()
        leave(done)
        server.proc.terminate()
        assert server.wait() == 0
        lines = server.lines()
        assert len(server.lines("warning")) == (option != "-q")
        assert bool(server.lines("info")) == (option == "-v")
        assert bool(lines) == (option != "-q")


def test_ident_is_not_done(pki):
    with serving(pki, ["true"], ["-r"]) as server:
        server.warning("^-r: IDENT is not done$")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look into a process that nobody else may look into")
@pytest.mark.skipif(SANITIZED, reason="the leak checker does not work under strace")
@pytest.mark.parametrize("options, expected", [(["-D"], True), (["-d"], False), ([], False), (["-D", "-d"], False)])
def test_nodelay(pki, tmp_path, options, expected):
    """-D sets TCP_NODELAY."""
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=setsockopt"]
    with Server(pki, ["echo", "hi"], options, program=[*strace, TLSSERVER]) as server:
        assert server.ask() == b"hi\n"
        os.kill(int(server.event("start")["pid"]), signal.SIGTERM)
        server.wait()
    told = re.findall(r"TCP_NODELAY, \[(\d)\]", trace.read_text())
    assert (told[-1] if told else "0") == str(int(expected))


# -- how many ----------------------------------------------------------------------------

def waits(client):
    """Whether a client that has said hello has no answer yet."""
    with contextlib.suppress(Exception):
        client.tls.do_handshake()
    client.flush()
    return not select.select([client.sock], [], [], 0.1)[0]


def test_connections_beyond_the_most_wait(pki, version):
    """Those beyond -c wait in the backlog, and are served when one is over, in their order."""
    with serving(pki, ["cat"], ["-c2"]) as server:
        first, second = server.client(version), server.client(version)
        assert echoed(first) and echoed(second)
        third, fourth = server.begin(version), server.begin(version)
        assert waits(third) and waits(fourth)
        assert server.live() == 2
        wait_quiet(server.pid)
        leave(first)
        third.handshake()
        assert echoed(third) and waits(fourth) and echoed(second)
        leave(second)
        leave(third)
        fourth.handshake()
        leave(fourth)
        assert max(int(n) for n in re.findall(r"status: (\d+)/2\b", server.text())) == 2


def test_a_connection_counts_until_prog_ends(pki, tmp_path):
    """A client that is gone counts as long as its prog lives."""
    told, go = Fifo(tmp_path / "told"), Fifo(tmp_path / "go")
    prog = ["sh", "-c", 'cat >/dev/null; echo eof >"$0"; read _ <"$1"', told.path, go.path]
    with serving(pki, prog, ["-c1"]) as server:
        first = server.client()
        first.reset()
        assert told.get() == "eof"
        server.warning("reset")
        second = server.begin()
        assert waits(second) and server.live() == 1
        go.put()
        second.handshake()
        second.fin()
        assert told.get() == "eof"
        go.put()
        second.read_all()


def test_a_connection_counts_from_accept(pki):
    """A client that has said nothing counts."""
    with serving(pki, ["cat"], ["-c1"]) as server:
        silent, second = server.begin(), server.begin()
        server.event("accept", peer=silent.peername)
        assert waits(second)
        silent.close()
        server.warning(f"peer={silent.peername} ")
        second.handshake()
        leave(second)


def test_connections_of_one_client(pki):
    """Those beyond -C are closed at once, told of at -v; others' are not. TCPCONNNUM says how many there are."""
    with serving(pki, ["sh", "-c", "echo $TCPCONNNUM; exec cat"], ["-C2"]) as server:
        first, second = server.client(), server.client()
        assert (first.read_exactly(2), second.read_exactly(2)) == (b"1\n", b"2\n")
        refusal = server.event("refused", peer=server.knock())
        assert refusal["why"] == "too many connections of this client"
        other = server.client(source="127.0.0.2")
        assert other.read_exactly(2) == b"1\n"
        leave(first)
        server.event("end", peer=first.peername)
        fourth = server.client()
        assert fourth.read_exactly(2) == b"2\n"
        for client in second, other, fourth:
            leave(client)


@apart
def test_connections_of_one_network(pki):
    """An IPv6 client counts by its /64, an IPv4 one by itself, on the same socket."""
    addresses = "2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1"
    for address in addresses:
        command("ip", "addr", "add", f"{address}/64", "dev", "lo", "nodad")
    routed(*addresses)
    with serving(pki, ["sh", "-c", "echo $TCPCONNNUM; exec cat"], ["-C1"], where=("::", "0")) as server:
        one = server.client(host="2001:db8:0:1::1", source="2001:db8:0:1::1")
        assert one.read_exactly(2) == b"1\n"
        server.knock("2001:db8:0:1::2", "2001:db8:0:1::1")
        server.event("refused")
        others = [server.client(host="2001:db8:0:1::1", source="2001:db8:0:2::1"),
                  server.client(source="127.0.0.1"), server.client(source="127.0.0.2")]
        for client in [one, *others]:
            assert client is one or client.read_exactly(2) == b"1\n"
            leave(client)


def test_handshakes_beyond_the_most_wait(pki, version):
    """--max-handshakes: further ones wait in the backlog; connections whose handshake is over do not count."""
    with serving(pki, ["cat"], ["--max-handshakes=2"]) as server:
        up = [server.client(version) for _ in range(3)]
        silent = [server.begin(), server.begin()]
        for client in silent:
            server.event("accept", peer=client.peername)
        third = server.begin(version)
        assert waits(third) and server.live() == 5
        assert all(echoed(client) for client in up)
        silent[0].close()
        server.warning(f"peer={silent[0].peername} ")
        third.handshake()
        assert echoed(third)
        silent[1].close()
        server.warning(f"peer={silent[1].peername} ")
        for client in [*up, third]:
            leave(client)


def test_a_silent_client_holds_an_engine_alone(pki):
    """No prog, and no signer has anything to do."""
    with serving(pki, ["cat"]) as server:
        signers = server.signers()
        silent = [server.begin() for _ in range(10)]
        for client in silent:
            server.event("accept", peer=client.peername)
        wait_quiet(server.pid, *signers, *server.engines())
        assert server.events("start") == [server.event("start")], "no prog"
        assert sorted(children(server.pid)) == sorted(signers + server.engines())
        assert server.signers() == signers
        for client in silent:
            client.close()
            server.warning(f"peer={client.peername} ")


@pytest.mark.parametrize("sent", ["nothing", "half", "hello", "a byte now and then"])
def test_handshake_timeout(pki, version, sent):
    """A client that stalls is over at the timeout: 98 in its end line, one warning, and no prog."""
    with serving(pki, ["cat"], ["--handshake-timeout=300", "--linger=0"]) as server:
        client = server.begin(version)
        with contextlib.suppress(Exception):
            client.tls.do_handshake()
        hello = client.outbound.read()
        if sent == "a byte now and then":
            for byte in hello[:-1]:
                if server.events("end"):
                    break
                with contextlib.suppress(ConnectionError):
                    client.sock.sendall(bytes([byte]))
                time.sleep(0.02)
        else:
            client.sock.sendall({"nothing": b"", "half": hello[:len(hello) // 2], "hello": hello}[sent])
        end = server.event("end", peer=client.peername)
        assert end["code"] == "98"
        server.warning(f"peer={client.peername} .*handshake")
        assert not [f for f in server.events("start") if "prog" in f]
        after = server.client(version)
        leave(after)


def test_handshake_timeout_is_there_by_default():
    text = subprocess.run([TLSSERVER, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "s6-tlsserver: 30000" in text


def test_idle_timeout(pki, version):
    """-K ends a connection that rests, and no other."""
    with serving(pki, ["cat"], ["-K1000", "--linger=0"]) as server:
        idle, busy = server.client(version), server.client(version)
        assert echoed(idle)
        while not server.events("end", peer=idle.peername):
            assert echoed(busy)
            time.sleep(0.05)
        assert server.event("end", peer=idle.peername)["code"] == "98"
        server.warning(f"peer={idle.peername} ")
        leave(busy)


# -- who may connect -----------------------------------------------------------------------

class Rules:
    """A rules directory; put("ip4/127.0.0.1_32", "allow", NAME="value")."""

    def __init__(self, path):
        self.path = path
        path.mkdir()

    def put(self, key, verdict, **env):
        rule = self.path / key
        shutil.rmtree(rule, ignore_errors=True)
        rule.mkdir(parents=True)
        if verdict:
            (rule / verdict).write_text("")
        if env:
            (rule / "env").mkdir()
            for name, value in env.items():
                (rule / "env" / name).write_text(value)


@pytest.fixture
def rules(tmp_path):
    tmp_path.chmod(0o755)
    return Rules(tmp_path / "rules")


def turned_away(server, **kw):
    """Whether a new connection is closed, without a word of prog, and that told of at -v."""
    return server.event("refused", peer=server.knock(**kw))["why"] == "no access rule allows it"


def test_rules(pki, rules):
    """Who is allowed gets in, with the rule's variables; who is denied, or in no rule, does not."""
    rules.put("ip4/127.0.0.2_32", "deny")
    rules.put("ip4/127.0.0.0_30", "allow", GREETING="hello\n", TCPREMOTEHOST="ruled", PATH="")
    prog = ["/bin/sh", "-c", "echo ${GREETING-none} ${TCPREMOTEHOST-none} ${TCPREMOTEIP-none} ${PATH+path}"]
    with serving(pki, prog, ["-i", str(rules.path)]) as server:
        assert turned_away(server, source="127.0.0.2")
        assert server.ask(source="127.0.0.1").split()[:3] == [b"hello", b"ruled", b"127.0.0.1"]
        assert server.ask(source="127.0.0.3").split()[:3] == [b"hello", b"ruled", b"127.0.0.3"]
        assert turned_away(server, source="127.0.0.4")
        assert not [f for f in server.events("accept") if f["peer"].startswith(("127.0.0.2", "127.0.0.4"))]


def test_rules_are_read_anew(pki, rules):
    """What changes between two connections holds for the second; nothing matches before there is a rule."""
    with serving(pki, ["sh", "-c", "echo ${WHO-none}"], ["-i", str(rules.path)]) as server:
        assert turned_away(server)
        rules.put("ip4/0.0.0.0_0", "allow", WHO="anybody")
        assert server.ask() == b"anybody\n"
        rules.put("ip4/127.0.0.1_32", "allow", WHO="you")
        assert server.ask() == b"you\n"
        rules.put("ip4/127.0.0.1_32", "deny")
        assert turned_away(server)


def test_rule_that_cannot_be_read(pki, rules):
    """It lets nobody in, and says so; the server goes on."""
    rules.put("ip4/0.0.0.0_0", "allow")
    with serving(pki, ["echo", "in"], ["-i", str(rules.path)]) as server:
        assert server.ask() == b"in\n"
        rules.put("ip4/127.0.0.1_32", "allow", WHO="x")
        (rules.path / "ip4/127.0.0.1_32/env/WHO").unlink()
        (rules.path / "ip4/127.0.0.1_32/env/WHO").symlink_to("nowhere")
        assert turned_away(server)
        server.warning("access rule ip4/127.0.0.1_32: cannot read WHO: No such file or directory")
        assert server.ask(source="127.0.0.2") == b"in\n"


def test_rules_that_are_not_there(pki, tmp_path):
    code, message = refused(pki, ["-i", str(tmp_path / "none")])
    assert (code, message) == (111, f"-i {tmp_path}/none: cannot open: No such file or directory")


@apart
def test_rules_by_name(pki, names, rules):
    """reversedns, with -h: where no address decides; without -h it is not looked at."""
    names("127.0.0.2 good.example.org\n127.0.0.3 bad.example.org\n127.0.0.4 host.other.net\n127.0.0.5 bad.example.org")
    rules.put("reversedns/example.org", "allow", WHO="example")
    rules.put("reversedns/bad.example.org", "deny")
    rules.put("ip4/127.0.0.5_32", "allow", WHO="five")
    prog = ["sh", "-c", "echo $TCPREMOTEHOST $WHO"]
    with Dns(), serving(pki, prog, ["-h", "-i", str(rules.path)]) as server:
        assert server.ask(source="127.0.0.2") == b"good.example.org example\n"
        assert server.ask(source="127.0.0.5") == b"bad.example.org five\n"
        for source in "127.0.0.3", "127.0.0.4", "127.0.0.6":
            assert turned_away(server, source=source)
        server.at_rest()
    with serving(pki, prog, ["-H", "-i", str(rules.path)]) as server:
        assert turned_away(server, source="127.0.0.2")


@apart
def test_names(pki, names):
    """Both ends' with -h, nobody is asked with -H, which is the default; -l is the local name without a look-up."""
    names("127.0.0.2 there.example\n")
    with Dns({("1.0.0.127.in-addr.arpa", "PTR"): "here.example"}) as dns:
        for options, local, remote, asked in (
                ([], None, None, False), (["-H"], None, None, False), (["-hH"], None, None, False),
                (["-h"], "here.example", "there.example", True), (["-h", "-l", "mine"], "mine", "there.example", False),
                (["-l", "mine"], "mine", None, False), (["-h", "-l0"], "0", "there.example", False)):
            dns.asked.clear()
            with serving(pki, TELL, options) as server:
                env = told(server, source="127.0.0.2")["env"]
                assert (env.get("TCPLOCALHOST"), env.get("TCPREMOTEHOST")) == (local, remote), options
            assert dns.asked == (["1.0.0.127.in-addr.arpa"] if asked else []), options


@apart
def test_names_that_do_not_lead_back(pki, names):
    """With -p a name that is not one of its address is none; with -P, the default, it is believed."""
    names("127.0.0.3 honest.example\n")
    records = {("2.0.0.127.in-addr.arpa", "PTR"): "liar.example", ("liar.example", "A"): "192.0.2.1",
               ("3.0.0.127.in-addr.arpa", "PTR"): "honest.example"}
    with Dns(records):
        for options, liar in (["-h"], "liar.example"), (["-hp"], None), (["-hpP"], "liar.example"):
            with serving(pki, TELL, options) as server:
                assert told(server, source="127.0.0.2")["env"].get("TCPREMOTEHOST") == liar
                assert told(server, source="127.0.0.3")["env"].get("TCPREMOTEHOST") == "honest.example"


@apart
def test_names_that_take_long(pki, names):
    """A name server that is silent keeps a connection -t ms, and no other at all; prog does without."""
    names("127.0.0.3 quick.example\n127.0.0.1 here.example\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 53))
        with serving(pki, TELL, ["-h", "-t300"]) as server:
            begin = time.monotonic()
            assert "TCPREMOTEHOST" not in told(server, source="127.0.0.2")["env"]
            assert 0.3 <= time.monotonic() - begin < 2
        with serving(pki, TELL, ["-h", "-t100000"]) as server:
            slow = server.client(source="127.0.0.2")
            assert told(server, source="127.0.0.3")["env"]["TCPREMOTEHOST"] == "quick.example"
            assert not server.events("start", peer=slow.peername)
            slow.reset()
            server.warning(f"peer={slow.peername} ")
            server.event("end", peer=slow.peername)


@apart
def test_a_look_up_has_no_more_than_it_needs(pki, names):
    """The ids and privileges of an engine, the channel to the listener, and what its resolver opens."""
    names("127.0.0.1 here.example\n", timeout=30)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 53))
        with serving(pki, ["true"], ["-h", "-t100000"], env={"TLS_UID": "61001", "TLS_GID": "61002"}) as server:
            wait_quiet(server.pid)
            signers = server.signers()
            slow = server.client(source="127.0.0.2")
            wait_quiet(server.pid)
            asker, = (pid for pid in server.signers() if pid not in signers)
            fds = [os.readlink(f"/proc/{asker}/fd/{n}") for n in os.listdir(f"/proc/{asker}/fd")]
            assert sorted(fd.split(":")[0] for fd in fds if fd != "/dev/null") == ["socket", "socket"]
            assert status_of(asker, "Uid").split() == ["61001"] * 4
            assert status_of(asker, "Gid").split() == ["61002"] * 4
            assert status_of(asker, "Groups") == ""
            for name in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
                assert int(status_of(asker, name), 16) == 0
            os.kill(asker, signal.SIGKILL)  # prog does without
            assert slow.read_all() == b""
            slow.close()

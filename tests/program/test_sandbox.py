"""The seal: what the kernel says of engine, monitor and prog, and what an engine that was taken over cannot do."""

import contextlib
import ctypes
import os
import platform
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

import pytest

from harness import (Client, LIMIT, PROGRAM, SANITIZED, Tlsd, filtered, make_identity, one_line, program_name, python,
                     refused_at_start, session, status_of, survivors, wait_for)

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root has privileges to drop")
pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitized program is never sealed")
IDS = {"TLS_UID": "61001", "TLS_GID": "61002"}

# Built with the tests, from tests/hostile/prisoner.c, which says what $PRISONER may be.
PRISONER = os.path.join(os.path.dirname(PROGRAM), "tests", "{}-prisoner")


# -- a kernel that lacks something -----------------------------------------------

NO_NEW_PRIVS = 38
CALLS = {"landlock": 444, "restrict": 446} | {"x86_64": {"prctl": 157, "seccomp": 317},
                             "aarch64": {"prctl": 167, "seccomp": 277}}.get(platform.machine(), {})


def lacking(*names):
    """A preexec function: a kernel that answers the first call of each layer with ENOSYS, as an old one does.

    "no_new_privs" is a layer too; prctl is refused from there on, but only where it is about that.
    """
    if not {"prctl", "seccomp"} <= CALLS.keys():
        pytest.skip("the numbers of this machine's system calls are not known here")
    # Load the call's number; equal: errno; in the end: allow. For prctl the first argument is looked at.
    code = [(0x20, 0, 0, 0)]
    for name in names:
        if name == "no_new_privs":
            code += [(0x15, 0, 4, CALLS["prctl"]), (0x20, 0, 0, 16), (0x25, 0, 2, NO_NEW_PRIVS - 1),
                     (0x25, 1, 0, NO_NEW_PRIVS + 1), (0x06, 0, 0, 0x50000 | 22), (0x20, 0, 0, 0)]
        else:
            code += [(0x15, 0, 1, CALLS[name]), (0x06, 0, 0, 0x50000 | 38)]
    code += [(0x06, 0, 0, 0x7fff0000)]
    return filtered(code)


def limits(pid):
    """The soft and hard limits of a process, by name."""
    with open(f"/proc/{pid}/limits") as f:
        return {line[:26].strip(): tuple(line[26:].split()[:2]) for line in f.readlines()[1:]}


def seal_of(pid):
    return status_of(pid, "NoNewPrivs"), status_of(pid, "Seccomp")


def sealed(pid):
    return seal_of(pid) == ("1", "2")


def check_limits(pid):
    found = limits(pid)
    assert found["Max processes"] == found["Max core file size"] == ("0", "0")
    assert int(found["Max open files"][1]) <= 8


def landlock_abi():
    return ctypes.CDLL(None).syscall(CALLS["landlock"], None, 0, 1)


needs_all_layers = pytest.mark.skipif(landlock_abi() < 4, reason="this kernel lacks a layer")


def sandbox_lines(tlsd):
    return [line for line in tlsd.stderr(raw=True).splitlines() if "sandbox: " in line]


# -- what the kernel says of each process ------------------------------------------

@ROOT_ONLY
@pytest.mark.parametrize("env", [{}, IDS], ids=["root", "TLS_UID"])
def test_engine_is_sealed_before_the_first_byte(pki, env):
    """A client that has not sent a byte yet has a sealed engine: ids, capabilities, no_new_privs, seccomp, limits."""
    with Tlsd(pki, ["cat"], env=env) as tlsd:
        engine = tlsd.engine()
        wait_for(lambda: sealed(engine), "the seal")
        uid, gid = env.get("TLS_UID", "0"), env.get("TLS_GID", "0")
        assert status_of(engine, "Uid").split() == [uid] * 4
        assert status_of(engine, "Gid").split() == [gid] * 4
        assert status_of(engine, "Groups").split() == []
        assert {int(status_of(engine, name), 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        check_limits(engine)
        assert os.stat(f"/proc/{engine}/mem").st_uid == 0, "dumpable"
        assert seal_of(tlsd.pid) == seal_of("self"), "the monitor has yet to start prog"
        Client(tlsd.sock, pki).handshake().fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


def test_monitor_is_sealed_when_prog_runs(pki):
    """Before prog's first byte the monitor has sealed itself too."""
    with session(pki, ["cat"]) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        for pid in tlsd.pid, tlsd.engine():
            assert sealed(pid)
            check_limits(pid)
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


@pytest.mark.parametrize("files", [64, 1000])
def test_prog_inherits_nothing_of_it(pki, files):
    """prog has no_new_privs, seccomp and limits as they were at the start."""
    def preexec():
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    with session(pki, ["cat"], preexec=preexec) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        prog = tlsd.prog()
        assert seal_of(prog) == seal_of("self")
        assert limits(prog) == limits("self") | {"Max open files": (str(files), str(files))}
        client.fin()
        assert tlsd.wait() == 0


def test_prog_opens_forks_and_execs(pki, tmp_path):
    """prog is under no landlock: it makes files, sockets and processes."""
    code = """
import socket, subprocess
with open(sys.argv[1], "w") as f:
    f.write("written")
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
subprocess.run(["cat", sys.argv[1]], check=True)
"""
    with session(pki, python(code, tmp_path / "file")) as (tlsd, client):
        assert client.read_all() == b"written"
        client.fin()
        assert tlsd.wait() == 0


@ROOT_ONLY
def test_nobody_looks_into_them(pki):
    """An ordinary user's monitor and engine are not his to look into, from the start; prog is."""
    def preexec():
        os.setgroups([])
        os.setgid(61009)
        os.setuid(61008)

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        env = dict(zip(("KEYFILE", "CERTFILE"), pki.server.files(folder, "server")))
        os.chown(env["KEYFILE"], 61008, 61009)
        with Tlsd(pki, ["cat"], env=env, program=[shutil.copy2(PROGRAM, folder)], preexec=preexec) as tlsd:
            engine = tlsd.engine()
            assert os.stat(f"/proc/{tlsd.pid}/mem").st_uid == 0
            client = Client(tlsd.sock, pki).handshake()
            client.send(b"x")
            assert client.read_exactly(1) == b"x"
            assert [os.stat(f"/proc/{pid}/mem").st_uid for pid in (tlsd.pid, engine, tlsd.prog())] == [0, 0, 61008]
            client.fin()
            assert (tlsd.wait(), tlsd.stderr()) == (0, "")


@needs_all_layers
def test_limits_that_are_lower_already(pki):
    """A hard limit below ours stays."""
    def preexec():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))

    with session(pki, ["cat"], ["--sandbox=require"], preexec=preexec) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        check_limits(tlsd.engine())
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


# -- what the libraries do behind it -------------------------------------------------

def test_many_anchors(pki, tmp_path, version):
    """A list of anchors as long as those of the world, which libraries sort when they first need one."""
    key = pki.ca.key
    others = b"".join(make_identity(f"CA {n}", key=key, ca=True).cert_pem() for n in range(200))
    (tmp_path / "anchors.pem").write_bytes(others + pki.ca.cert_pem())
    env = {"CAFILE": str(tmp_path / "anchors.pem")}
    with session(pki, ["cat"], ["-y"], version, pki.client, env=env) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


@pytest.mark.parametrize("zone", [None, "", "Europe/Berlin", ":/etc/localtime", "nonsense"])
def test_time_zone(pki, version, zone):
    """A look at a clock, for a certificate's dates, opens no file."""
    env = {"CAFILE": pki.cafile, "TZ": zone}
    with session(pki, ["true"], ["-y"], version, pki.client, env=env) as (tlsd, client):
        client.read_all()
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


SYSLOG = """
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/dev/log")
if os.fork() == 0:
    s.close()
    os.dup2(0, 2)
    os.execv(sys.argv[1], sys.argv[1:])
os.write(2, s.recv(4096))
s.close()
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@ROOT_ONLY
def test_syslog_that_goes_away(pki):
    """The C library's attempt to find a new one is refused, and the connection goes on."""
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/dev"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not to be had here")
    dev = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 && exec \"$@\""
    inside = ["unshare", "-m", "sh", "-c", dev, "sh", *python(SYSLOG, PROGRAM)]
    with Tlsd(pki, ["cat"], ["-v2"], program=inside, env=IDS) as tlsd:
        client = Client(tlsd.sock, pki).handshake()
        wait_for(lambda: tlsd.stderr(raw=True), "the first line")
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        client.fin()
        assert tlsd.wait() == 0


# -- layers that are missing, demanded, not wanted ------------------------------------

MISSING = {
    ("landlock",): ["landlock is missing: Function not implemented"],
    ("seccomp",): ["seccomp is missing: Function not implemented"],
    ("landlock", "seccomp"): ["landlock is missing: Function not implemented",
                              "seccomp is missing: Function not implemented"],
    ("no_new_privs",): ["no_new_privs is missing: Invalid argument", "landlock is missing: it needs no_new_privs",
                        "seccomp is missing: it needs no_new_privs"],
}


@needs_all_layers
@pytest.mark.parametrize("layers", MISSING, ids=",".join)
@pytest.mark.parametrize("verbosity", [1, 2])
def test_missing_layer(pki, layers, verbosity):
    """The program runs without, with the other layers in place, and says so at -v2."""
    with session(pki, ["cat"], [f"-v{verbosity}"], env=IDS, preexec=lacking(*layers)) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        for pid in tlsd.pid, tlsd.engine():
            check_limits(pid)
            if "no_new_privs" not in layers:
                assert status_of(pid, "NoNewPrivs") == "1"
            if layers == ("landlock",):
                assert int(status_of(pid, "Seccomp_filters") or 2) == 2
        client.fin()
        assert tlsd.wait() == 0
        lines = sandbox_lines(tlsd)
        assert [line.split("sandbox: ")[1] for line in lines] == (MISSING[layers] if verbosity == 2 else [])
        assert all(line.startswith("s6-tlsd: info: ") for line in lines)
        assert verbosity == 2 or tlsd.stderr(raw=True) == ""


@needs_all_layers
@pytest.mark.parametrize("layers", MISSING, ids=",".join)
def test_missing_layer_that_is_required(pki, layers):
    """--sandbox=require: 111 and the layer's name, before a byte is read."""
    code, message = refused_at_start(pki, ["--sandbox=require"], preexec=lacking(*layers))
    assert code == 111
    assert message.endswith(f"--sandbox=require: {MISSING[layers][0]}")


@needs_all_layers
@pytest.mark.parametrize("options", [[], ["--sandbox=require"]])
def test_layer_that_fails(pki, options):
    """What the kernel has and does not give is fatal in the engine, which has not read a byte."""
    code, message = refused_at_start(pki, options, preexec=lacking("restrict"))
    assert code == 111
    assert message.endswith("sandbox: cannot enter landlock: Function not implemented")


@needs_all_layers
@pytest.mark.parametrize("options", [["--sandbox=require"], ["--sandbox", "require"],
                                     ["--sandbox=off", "--sandbox=try"]])
def test_required_and_there(pki, options):
    """Where nothing is missing, require is as try."""
    with session(pki, ["cat"], options) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        assert sealed(tlsd.engine()) and sealed(tlsd.pid)
        client.fin()
        assert (tlsd.wait(), tlsd.stderr()) == (0, "")


@pytest.mark.parametrize("options, warned", [(["--sandbox=off"], True), (["--sandbox=off", "-v0"], False)])
def test_off(pki, options, warned):
    """--sandbox=off seals nothing, and warns."""
    with session(pki, ["cat"], options) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        for pid in tlsd.pid, tlsd.engine():
            assert seal_of(pid) == seal_of("self")
            assert limits(pid) == limits("self")
        client.fin()
        assert tlsd.wait() == 0
        if warned:
            assert "--sandbox=off" in one_line(tlsd.stderr(), "warning")
        else:
            assert tlsd.stderr() == ""


@pytest.mark.parametrize("word", ["", "on", "tr", "tryy", "TRY", "try|require", "|", "0", "off "])
def test_bad_word(pki, word):
    """What is none of the three words is refused, with all three."""
    code, message = refused_at_start(pki, [f"--sandbox={word}"])
    assert code == 100 and f'--sandbox takes try|require|off, not "{word}"' in message


# -- an engine that was taken over ------------------------------------------------------

@contextlib.contextmanager
def prisoner(pki, attempt, options=(), victim="", layers=(), up=False):
    """A program whose engine attempts something as soon as it is sealed; in the end none of its processes is left."""
    lack = lacking(*layers) if layers else None

    def preexec():
        os.setsid()
        if lack:
            lack()

    program = PRISONER.format(program_name())
    if not os.path.exists(program):
        pytest.skip(f"{program} is not beside the program")
    env = IDS | {"PRISONER": attempt, "VICTIM": str(victim) if victim else None, "UP": "1" if up else None}
    with Tlsd(pki, ["cat"], options, env=env, program=[program], preexec=preexec) as tlsd:
        try:
            yield tlsd
            wait_for(lambda: not survivors(tlsd.pid), "engine and prog to be gone", LIMIT / 4)
        finally:
            for pid in survivors(tlsd.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def target(pki, attempt):
    """What an attempt is made on: another engine of the same ids, or something to connect to. None: the monitor."""
    if attempt in ("ptrace", "mem", "readv", "kill"):
        with Tlsd(pki, ["cat"], env=IDS) as tlsd:
            engine = tlsd.engine()
            wait_for(lambda: sealed(engine), "the seal")
            yield engine
            Client(tlsd.sock, pki).handshake().fin()
            assert (tlsd.wait(), tlsd.stderr()) == (0, "")
    elif attempt in ("connect", "abstract"):
        with socket.socket(socket.AF_INET if attempt == "connect" else socket.AF_UNIX) as listener:
            name = ("127.0.0.1", 0) if attempt == "connect" else f"\0s6-tlsd-{os.getpid()}"
            listener.bind(name)
            listener.listen(1)
            yield listener.getsockname()[1] if attempt == "connect" else os.getpid()
    else:
        yield None


def outcome(tlsd):
    """What came of the attempt, as the monitor tells it."""
    assert tlsd.wait() == 98
    text = [line for line in tlsd.stderr().splitlines(True) if "warning" not in line and "info" not in line]
    return re.sub(r"^.*peer=\S+ ", "", one_line("".join(text)))


# Attempt: what comes of it with landlock but no filter, and with neither. Behind the filter each is deadly.
ATTEMPTS = {
    "open": ("refused: Permission denied", "done"),
    "create": ("refused: Permission denied", "done"),
    "socket": ("done", "done"),
    "connect": ("refused: Permission denied", "done"),
    "bind": ("refused: Permission denied", "done"),
    "abstract": ("refused: Operation not permitted", "done"),
    "fork": ("refused: Resource temporarily unavailable",) * 2,
    "exec": ("refused: Permission denied", None),
    "ptrace": ("refused: Operation not permitted",) * 2,
    "mem": ("refused: Permission denied",) * 2,
    "readv": ("refused: Operation not permitted",) * 2,
    "kill": ("refused: Operation not permitted", "done"),
    "setuid": ("refused: Operation not permitted",) * 2,
    "limit": ("refused: Operation not permitted",) * 2,
    "dup": ("refused: Too many open files",) * 2,
    "run": ("done", "done"),
}
NEEDS_ABI = {"connect": 4, "bind": 4, "abstract": 6, "kill": 6}


@ROOT_ONLY
@pytest.mark.both_roles
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_attempt_is_deadly(pki, attempt):
    """Whatever is not a relay's call kills the engine: 98, told once, and nothing is left behind."""
    with target(pki, attempt) as victim, prisoner(pki, attempt, victim=victim) as tlsd:
        assert outcome(tlsd) == f"engine died (signal {signal.SIGSYS:d})"


@ROOT_ONLY
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_attempt_without_seccomp(pki, attempt):
    """Each layer works alone: without the filter, landlock, ids, limits and being undumpable refuse what they can."""
    if landlock_abi() < NEEDS_ABI.get(attempt, 1):
        pytest.skip("this kernel's landlock is too old")
    with target(pki, attempt) as victim, prisoner(pki, attempt, victim=victim, layers=["seccomp"]) as tlsd:
        assert outcome(tlsd) == f"{attempt}: {ATTEMPTS[attempt][0]}"


@ROOT_ONLY
@pytest.mark.parametrize("attempt", [name for name, (_, bare) in ATTEMPTS.items() if bare])
def test_attempt_without_seccomp_and_landlock(pki, attempt):
    """So do ids, limits and being undumpable, where the kernel has neither of the two."""
    with target(pki, attempt) as victim, prisoner(
            pki, attempt, victim=victim, layers=["seccomp", "landlock"]) as tlsd:
        assert outcome(tlsd) == f"{attempt}: {ATTEMPTS[attempt][1]}"


@ROOT_ONLY
@pytest.mark.parametrize("attempt", ["open", "socket", "connect", "bind", "fork", "dup", "run", "limit"])
def test_attempt_with_the_sandbox_off(pki, attempt):
    """Without the seal the same attempts succeed: the tests above see what they look for."""
    with target(pki, attempt) as victim, prisoner(pki, attempt, ["--sandbox=off"], victim) as tlsd:
        assert outcome(tlsd) == f"{attempt}: done"


@ROOT_ONLY
@pytest.mark.both_roles
@pytest.mark.parametrize("attempt", ["kill", "ptrace", "mem", "readv"])
@pytest.mark.parametrize("up", [False, True], ids=["before prog", "beside prog"])
def test_attempt_on_the_monitor(pki, attempt, up):
    """The monitor, of the engine's own uid once prog runs, is out of reach; prog reads EOF."""
    with prisoner(pki, attempt, up=up) as tlsd:
        assert outcome(tlsd) == f"engine died (signal {signal.SIGSYS:d})"


@ROOT_ONLY
@pytest.mark.parametrize("attempt, why", [
    ("kill", "Operation not permitted"), ("ptrace", "Operation not permitted"), ("mem", "Permission denied"),
    ("readv", "Operation not permitted"),
])
def test_attempt_on_the_monitor_without_seccomp(pki, attempt, why):
    """Nor is it in reach without the filter."""
    if landlock_abi() < NEEDS_ABI.get(attempt, 1):
        pytest.skip("this kernel's landlock is too old")
    with prisoner(pki, attempt, layers=["seccomp"]) as tlsd:
        assert outcome(tlsd) == f"{attempt}: refused: {why}"


@ROOT_ONLY
@pytest.mark.both_roles
@pytest.mark.parametrize("up, told", [(False, "allocate: done"), (True, "engine sent a malformed message")])
def test_what_is_allowed_is_done(pki, up, told):
    """A prisoner that asks for memory alone lives to tell, so that the deaths above are the attempts' own."""
    with prisoner(pki, "allocate", up=up) as tlsd:
        assert outcome(tlsd) == told

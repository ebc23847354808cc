"""Who runs as whom: TLS_UID and TLS_GID, and what is left to the engine."""

import os
import platform
import re
import shutil
import tempfile

import pytest

from harness import (Client, PROGRAM, Tlsd, filtered, one_line, python, refused_at_start, refusal, session, status_of,
                     wait_for)

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root has privileges to drop")
UID, GID = 61001, 61002
IDS = {"TLS_UID": str(UID), "TLS_GID": str(GID)}
GROUPS = [3, 4, 61003]
NO_CAPABILITY = {name: "0" * 16 for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}

# A prog that shows its own ids and its parent's, as soon as it has read a line.
SHOW = ["sh", "-c", "read x; grep -E '^(Uid|Gid|Groups|Cap...)' /proc/self/status /proc/$PPID/status"]


def with_groups():
    os.setgroups(GROUPS)


def four(n):
    return "\t".join([str(n)] * 4)


def capabilities(pid):
    return {name: status_of(pid, name) for name in NO_CAPABILITY}


def dropped(pid, uid=UID, gid=GID):
    """Asserts that a process has these ids alone, and no privilege."""
    assert (status_of(pid, "Uid"), status_of(pid, "Gid")) == (four(uid), four(gid))
    assert status_of(pid, "Groups").split() == []
    assert capabilities(pid) == NO_CAPABILITY


# -- the drop ------------------------------------------------------------------------

@ROOT_ONLY
def test_engine_has_dropped_before_the_first_byte(pki):
    """The engine has all four ids of TLS_UID and TLS_GID, no group and no capability while it waits for the client."""
    with Tlsd(pki, ["cat"], env=IDS, preexec=with_groups) as tlsd:
        engine = tlsd.engine()
        wait_for(lambda: status_of(engine, "Uid") == four(UID), "the drop")
        dropped(engine)
        Client(tlsd.sock, pki).handshake().fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""


@ROOT_ONLY
@pytest.mark.parametrize("env", [{}, IDS], ids=["root", "TLS_UID"])
def test_engine_can_never_have_a_capability(pki, env):
    """Root's engine, with TLS_UID or without, drops the bounding set too; prog keeps it."""
    before = status_of("self", "CapBnd")
    if int(before, 16) == 0:
        pytest.skip("the bounding set is empty here")
    with session(pki, ["cat"], env=env) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        assert status_of(tlsd.engine(), "CapBnd") == "0" * 16
        assert status_of(tlsd.prog(), "CapBnd") == before
        client.fin()
        assert tlsd.wait() == 0


@ROOT_ONLY
@pytest.mark.parametrize("options", [[], ["-y"]])
def test_who_runs_as_whom(pki, version, options):
    """With prog running, engine and monitor have dropped, and prog has what the program was started with."""
    env = IDS | {"CAFILE": pki.cafile}
    with session(pki, ["cat"], options, version, pki.client, env=env, preexec=with_groups) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        dropped(tlsd.engine())
        dropped(tlsd.pid)
        prog = tlsd.prog()
        assert (status_of(prog, "Uid"), status_of(prog, "Gid")) == (four(0), four(0))
        assert status_of(prog, "Groups").split() == [str(g) for g in GROUPS]
        assert capabilities(prog) == capabilities("self")
        client.fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""


@ROOT_ONLY
def test_monitor_has_dropped_before_progs_first_byte(pki):
    """When prog reads its first byte the monitor has already dropped."""
    for _ in range(5):
        with session(pki, SHOW, env=IDS, preexec=with_groups) as (tlsd, client):
            client.send(b"\n")
            text = client.read_all().decode()
            client.fin()
            assert tlsd.wait() == 0
        assert f"/proc/self/status:Uid:\t{four(0)}" in text
        assert f"/proc/{tlsd.pid}/status:Uid:\t{four(UID)}" in text
        assert f"/proc/{tlsd.pid}/status:Gid:\t{four(GID)}" in text
        assert re.search(rf"/proc/{tlsd.pid}/status:Groups:\s*$", text, re.M)
        assert f"/proc/{tlsd.pid}/status:CapPrm:\t{'0' * 16}" in text


@ROOT_ONLY
def test_files_of_root_alone(pki, tmp_path, version):
    """Key, certificate and anchors that root alone can read are read before the drop."""
    tmp_path.chmod(0o700)
    env = dict(IDS, CAFILE=str(tmp_path / "ca"), CERTFILE=str(tmp_path / "cert"), KEYFILE=str(tmp_path / "key"))
    for variable, data in ("CAFILE", pki.ca.cert_pem()), ("CERTFILE", pki.server.cert_pem()), (
            "KEYFILE", pki.server.key_pem()):
        with open(os.open(env[variable], os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
            f.write(data)
    prog = ["sh", "-c", "echo $SSL_PEER_CERT_SUBJECT"]
    with session(pki, prog, ["-y"], version, pki.client, env=env) as (tlsd, client):
        assert client.read_all() == b"CN=alice\n"
        client.fin()
        assert tlsd.wait() == 0


@ROOT_ONLY
def test_cadir_of_root_alone(pki, tmp_path):
    """A CADIR that root alone can search is read before the drop, to its last file."""
    (tmp_path / "anchors").mkdir(mode=0o700)
    (tmp_path / "anchors" / "ca").write_bytes(pki.ca.cert_pem())
    (tmp_path / "anchors" / "ca").chmod(0o600)
    env = IDS | {"CADIR": str(tmp_path / "anchors")}
    with session(pki, ["cat"], ["-y"], identity=pki.client, env=env) as (tlsd, client):
        client.fin()
        assert client.read_all() == b""
        assert tlsd.wait() == 0


@ROOT_ONLY
def test_refused_client_with_ids(pki):
    """The ids change nothing for who is refused."""
    with Tlsd(pki, ["true"], ["-y"], env=IDS | {"CAFILE": pki.cafile}) as tlsd:
        assert "ALERT" in refusal(Client(tlsd.sock, pki))
        tlsd.sock.close()
        assert tlsd.wait() == 98
        one_line(tlsd.stderr())


@ROOT_ONLY
def test_root_without_ids(pki):
    """Root with neither variable keeps its ids; the engine still drops capabilities and groups."""
    with session(pki, ["cat"], ["-v1"], preexec=with_groups) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        dropped(tlsd.engine(), 0, 0)
        prog = tlsd.prog()
        assert status_of(prog, "Uid") == four(0)
        assert status_of(prog, "Groups").split() == [str(g) for g in GROUPS]
        assert capabilities(prog) == capabilities("self")
        client.fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""


@ROOT_ONLY
@pytest.mark.parametrize("env, said", [({}, True), (IDS, False)])
def test_root_without_ids_is_told(pki, env, said):
    """Root with neither variable: -v2 says so."""
    with session(pki, ["true"], ["-v2"], env=env) as (tlsd, client):
        client.read_all()
        client.fin()
        assert tlsd.wait() == 0
        lines = [line for line in tlsd.stderr().splitlines() if "TLS_UID" in line]
        assert len(lines) == said
        assert all(line.startswith("s6-tlsd: info: ") for line in lines)


@ROOT_ONLY
def test_set_uid_root(pki):
    """Started with another real uid, the engine still has all four of TLS_UID; prog has what there was at start."""
    def preexec():
        os.setresgid(61004, 0, 0)
        os.setresuid(61005, 0, 0)

    with session(pki, ["cat"], env=IDS, preexec=preexec) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        dropped(tlsd.engine())
        dropped(tlsd.pid)
        assert status_of(tlsd.prog(), "Uid").split()[:2] == ["61005", "0"]
        assert status_of(tlsd.prog(), "Gid").split()[:2] == ["61004", "0"]
        client.fin()
        assert tlsd.wait() == 0


@ROOT_ONLY
def test_the_drop_is_for_ever(pki):
    """Neither monitor nor engine kept a saved id: the file system's id has changed too."""
    with session(pki, ["cat"], env=IDS) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        for pid in tlsd.pid, tlsd.engine():
            assert "0" not in status_of(pid, "Uid").split() + status_of(pid, "Gid").split()
        client.fin()
        assert tlsd.wait() == 0


@ROOT_ONLY
def test_prog_drops_by_itself(pki):
    """prog can still become anybody, as s6-applyuidgid does."""
    code = "os.setgroups([]); os.setgid(61007); os.setuid(61006); print(os.getresuid(), os.getresgid(), os.getgroups())"
    with session(pki, python(code), env=IDS) as (tlsd, client):
        assert client.read_all() == b"(61006, 61006, 61006) (61007, 61007, 61007) []\n"
        client.fin()
        assert tlsd.wait() == 0


# -- the variables -------------------------------------------------------------------------

BAD = ["0", "", "abc", "-1", "-4294966295", "4294967296", "4294968297", "4294967295", "18446744073709552617", "1x",
       " 1", "1 ", "+1", "0x10", "1.5", "00", "root", "9" * 40]


@ROOT_ONLY
@pytest.mark.parametrize("name", ["TLS_UID", "TLS_GID"])
@pytest.mark.parametrize("value", BAD)
def test_bad_id(pki, name, value):
    """What is no id but root's is 100, with the variable's name."""
    code, message = refused_at_start(pki, env=IDS | {name: value})
    assert code == 100 and name in message


@ROOT_ONLY
@pytest.mark.parametrize("name, other", [("TLS_UID", "TLS_GID"), ("TLS_GID", "TLS_UID")])
def test_one_id_without_the_other(pki, name, other):
    """One variable without the other is 100, with the name of the one that is missing."""
    code, message = refused_at_start(pki, env={name: "61001"})
    assert code == 100 and other in message


@ROOT_ONLY
@pytest.mark.parametrize("uid, gid", [(1, 1), (4294967294, 4294967294), (2147483648, 61001)])
def test_extreme_ids(pki, uid, gid):
    """Every id but 0 and -1 will do."""
    with session(pki, ["cat"], env={"TLS_UID": str(uid), "TLS_GID": str(gid)}) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        dropped(tlsd.engine(), uid, gid)
        client.fin()
        assert tlsd.wait() == 0


# -- who is not root ---------------------------------------------------------------------------

@pytest.fixture(scope="module")
def public(pki):
    """A copy of the program and of the server's files that everybody can read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        env = dict(zip(("KEYFILE", "CERTFILE"), pki.server.files(folder, "server")))
        os.chmod(env["KEYFILE"], 0o644)
        yield {"program": [shutil.copy2(PROGRAM, folder)], "env": env}


def ordinary(uid=61008, gid=61009):
    """Becomes an ordinary user, when this is not one already."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


@pytest.mark.parametrize("ids", [{}, IDS, {"TLS_UID": "0", "TLS_GID": "abc"}, {"TLS_UID": "1"}], ids=str)
def test_ids_are_ignored_without_root(pki, public, ids):
    """An ordinary user's TLS_UID and TLS_GID are not even looked at, and prog does not see them."""
    prog = ["sh", "-c", "read x; echo ${TLS_UID-none} ${TLS_GID-none}"]
    with session(pki, prog, program=public["program"], env=public["env"] | ids, preexec=ordinary) as (tlsd, client):
        owner = 61008 if os.geteuid() == 0 else os.geteuid()
        for pid in tlsd.pid, tlsd.engine(), tlsd.prog():
            assert status_of(pid, "Uid") == four(owner)
        client.send(b"\n")
        assert client.read_all() == b"none none\n"
        client.fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""


CALLS = {"x86_64": {"setresuid": 117, "setresgid": 119, "setgroups": 116, "setuid": 105, "setgid": 106, "capset": 126},
         "aarch64": {"setresuid": 147, "setresgid": 149, "setgroups": 159, "setuid": 146, "setgid": 144, "capset": 91}}


def pretending(call):
    """A preexec function: a kernel that says it has done what the call asks for, and has not."""
    number = CALLS.get(platform.machine(), {}).get(call)
    if number is None:
        pytest.skip("the numbers of this machine's system calls are not known here")
    pretend = filtered([(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000), (0x06, 0, 0, 0x7fff0000)])

    def preexec():
        with_groups()
        pretend()
    return preexec


NOT_DROPPED, TAKEN_BACK = "root privileges were not dropped", "root privileges can be taken back"


@ROOT_ONLY
@pytest.mark.parametrize("call, env, message", [
    ("setresuid", IDS, NOT_DROPPED), ("setresgid", IDS, NOT_DROPPED), ("setgroups", IDS, NOT_DROPPED),
    ("setuid", IDS, TAKEN_BACK), ("setgid", IDS, TAKEN_BACK), ("capset", {}, "capabilities were not dropped")])
def test_drop_that_does_not_stick(pki, call, env, message):
    """What was dropped is looked at: 111 before a byte is read, if it is still there."""
    code, text = refused_at_start(pki, env=env, preexec=pretending(call))
    assert code == 111 and text.endswith(f" {message}"), text


@ROOT_ONLY
def test_capabilities_without_root(pki, public):
    """Capabilities that an ordinary user was given do not stay with the engine, and do with prog."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv of util-linux is not installed")
    start = ["setpriv", "--reuid=61008", "--regid=61009", "--clear-groups", "--inh-caps=+net_bind_service",
             "--ambient-caps=+net_bind_service", *public["program"]]
    with session(pki, ["cat"], program=start, env=public["env"]) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        assert capabilities(tlsd.engine()) == NO_CAPABILITY
        assert status_of(tlsd.prog(), "CapEff") == f"{1 << 10:016x}"
        client.fin()
        assert tlsd.wait() == 0


def test_key_is_not_readable_through_the_engine(pki):
    """The engine has no descriptor of the key's file."""
    path = pki.write("fresh.key", pki.server.key_pem(), 0o600)
    with session(pki, ["cat"], env={"KEYFILE": path}) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"  # by then nothing is closed any more
        for pid in tlsd.pid, tlsd.engine(), tlsd.prog():
            try:
                fds = os.listdir(f"/proc/{pid}/fd")
            except PermissionError:
                continue
            assert path not in [os.readlink(f"/proc/{pid}/fd/{n}") for n in fds]
        client.fin()
        assert tlsd.wait() == 0

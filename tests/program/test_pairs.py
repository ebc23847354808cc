"""This build's s6-tlsc with every build's s6-tlsd: who ends first, and how; what arrives; what either end learns.

Each prog reads 0 and writes 1. What one side does and the other must bear is tried in both directions.
"""

import contextlib
import hashlib
import os
import re
import shlex
import signal
import subprocess
import tempfile

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from abilities import ABILITIES
from harness import (ABLE, FILL, ON_0_AND_1, PROGRAM, TLSC, Fifo, Tlsd, alive, children, minimal_environment, new_key,
                     placed, python, stop, tcp_pair, wait_for, wait_quiet)


def backend(path):
    return subprocess.run([path, "--backend"], stdout=subprocess.PIPE, text=True, check=True).stdout.split(":")[0]


SERVERS = {path: backend(path) for path in os.environ.get("S6_TLSD_BUILDS", PROGRAM).split(":")}
OTHER = {"server": "client", "client": "server"}
CLOSES = ["-s", "-S", "--half-close-notify"]
FOREVER = "--linger=2000000"  # what ends a connection is something else
SIZE = 70_001  # more than a pipe holds

# How a prog ends for which all went well, and one that cannot write; and what it does before.
CODES, UNWRITABLE = {"server": 3, "client": 5}, 9
SEND, TAKE, EXIT = f'head -c "$size" "$blob" || exit {UNWRITABLE}', 'cat > "$taken"', 'exit "$code"'

NO_NOTIFY, RESET = "TLS failed: the peer ended without close_notify", "TLS failed: the connection was reset"


@pytest.fixture(params=SERVERS, ids=SERVERS.get)
def server(request):
    """The path of an s6-tlsd."""
    return request.param


class Side(Tlsd):
    """One of the two programs: the command, that end of the connection on its 0 and 1, or 6 and 7."""

    def __init__(self, command, wire, env):
        self.sock, self.log = wire, tempfile.TemporaryFile()
        start = dict(env=env, stderr=self.log)
        if command[0] == TLSC:
            with placed(wire, wire, command) as (command, fds):
                self.proc = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL,
                                             stdout=subprocess.DEVNULL, **start)
        else:
            self.proc = subprocess.Popen(command, stdin=wire, stdout=wire, **start)
        wire.close()
        self.pid = self.proc.pid

    def verdict(self):
        """The exit code; for 98 the reason instead, which is the one line written. No other code has any."""
        code, text = self.wait(), self.stderr()
        if code != 98:
            assert text == "", text
            return code
        assert text.count("\n") == 1 and " fatal: " in text, text
        return re.sub(r".* fatal: pid=\d+ peer=\S+ ", "", text.rstrip("\n"))


@contextlib.contextmanager
def pair(pki, server, blob, folder, progs, options=None, sizes=None, env=None):
    """The two programs, connected, each with a prog of the shell's; all is by side, what is yielded, too."""
    own = {"server": {"KEYFILE": pki.server.keyfile, "CERTFILE": pki.server.certfile}, "client": {"CAFILE": pki.cafile}}
    command = {"server": [server, FOREVER], "client": [TLSC, FOREVER, "-k", "localhost"]}
    with contextlib.ExitStack() as stack:
        sides = {}
        for name, wire in zip(("client", "server"), tcp_pair()):
            variables = own[name] | (env or {}).get(name, {}) | {
                "blob": blob.path, "size": str((sizes or {}).get(name, SIZE)), "taken": str(folder / name),
                "code": str(CODES[name])}
            words = [*command[name], *(options or {}).get(name, ()), *(ON_0_AND_1 if name == "client" else ())]
            side = Side([*words, "sh", "-c", progs[name]], wire, minimal_environment(**variables))
            sides[name] = stack.enter_context(side)
        yield sides


def verdicts(sides):
    return {name: side.verdict() for name, side in sides.items()}


def took(folder, name, blob, size):
    """Whether prog has got the first `size` bytes of the blob and no other."""
    return hashlib.sha256((folder / name).read_bytes()).hexdigest() == blob.sha(size)


def able(server, name):
    return ABLE if name == "client" else ABILITIES[SERVERS[server]]


def tls13(server):
    return all(able(server, name).tls13 for name in OTHER)


# -- one ends first ----------------------------------------------------------

@pytest.fixture(params=["server", "client"], ids=lambda name: f"{name} first")
def first(request):
    return request.param


@pytest.fixture(params=["-j", "-J"])
def judge(request):
    """Of both sides."""
    return request.param


@pytest.fixture(params=CLOSES)
def answer(request):
    """How the second ends."""
    return request.param


@pytest.fixture(params=CLOSES)
def close(request):
    """How the first ends."""
    return request.param


def one_first(first, close, answer, judge):
    return {first: [close, judge], OTHER[first]: [answer, judge]}


def after_the_first(server, first, close, judge):
    """What becomes of the second, which answers when the first has ended its output by `close`.

    A FIN alone is refused under -J. A close_notify is answered at once where the backend cannot do otherwise.
    """
    second = OTHER[first]
    if close == "-s":
        return NO_NOTIFY if judge == "-J" else CODES[second]
    return CODES[second] if able(server, second).replies_after_close_notify else UNWRITABLE


def test_one_exits_first(pki, server, blob, tmp_path, first, close, answer, judge):
    """The first sends all and exits with its own code, whatever comes then; the second gets all, and judges the end."""
    second = OTHER[first]
    progs = {first: f"{SEND}; {EXIT}", second: f"{TAKE}; {SEND}; {EXIT}"}
    with pair(pki, server, blob, tmp_path, progs, one_first(first, close, answer, judge)) as sides:
        assert verdicts(sides) == {first: CODES[first], second: after_the_first(server, first, close, judge)}
    assert took(tmp_path, second, blob, SIZE)


def test_one_half_closes_first(pki, server, blob, tmp_path, first, close, answer, judge):
    """The first sends all and closes its output: it gets the whole answer, or under -S, or in TLS 1.2, none of it."""
    second = OTHER[first]
    duplex = close == "-s" or (close == "--half-close-notify" and tls13(server))
    fate = after_the_first(server, first, close, judge)
    own = CODES[first]
    if fate == NO_NOTIFY:
        own, duplex = RESET, False  # so that an answer that is cut never looks whole
    elif duplex and (answer, judge) == ("-s", "-J"):
        own = NO_NOTIFY
    progs = {first: f"{SEND}; exec >&-; {TAKE}; {EXIT}", second: f"{TAKE}; {SEND}; {EXIT}"}
    with pair(pki, server, blob, tmp_path, progs, one_first(first, close, answer, judge)) as sides:
        assert verdicts(sides) == {first: own, second: fate}
    assert took(tmp_path, second, blob, SIZE)
    assert took(tmp_path, first, blob, SIZE if duplex else 0)


@pytest.mark.parametrize("then", [EXIT, f"exec >&-; {TAKE}; {EXIT}"], ids=["exits", "closes"])
def test_one_ends_with_more_than_the_wire_takes(pki, server, blob, tmp_path, first, close, then):
    """The second reads only when the first's prog has written all that it can, and ended: it gets every byte."""
    second, told, go = OTHER[first], Fifo(tmp_path / "told"), Fifo(tmp_path / "go")
    fill = python(FILL + "os.close(1)\nopen(sys.argv[2], 'w').write(f'{n}\\n')", blob.path, told.path)
    progs = {first: f"{shlex.join(fill)}; {then}", second: f"read _ < {go.path}; {TAKE}; {EXIT}"}
    with pair(pki, server, blob, tmp_path, progs, one_first(first, close, "-S", "-j")) as sides:
        n = int(told.get())
        assert SIZE < n < len(blob.data)
        if then == EXIT:
            wait_for(lambda: len(children(sides[first].pid)) < 2, "prog's exit")
        go.put()
        assert verdicts(sides) == CODES
    assert took(tmp_path, second, blob, n)


# -- both at once ------------------------------------------------------------

def test_both_exit_at_once(pki, server, blob, tmp_path, first, close, answer):
    """Both progs have exited before either program sees the other's end: both codes are prog's, even under -J."""
    told, go = ({name: Fifo(tmp_path / f"{what}-{name}") for name in OTHER} for what in ("told", "go"))
    progs = {name: f'{SEND}; head -c "$size" > "$taken"; echo > {told[name].path}; read _ < {go[name].path}; {EXIT}'
             for name in OTHER}
    with pair(pki, server, blob, tmp_path, progs, one_first(first, close, answer, "-J")) as sides:
        for name in OTHER:
            told[name].get()
        pids = {name: (side.engine(), side.pid) for name, side in sides.items()}
        for name, side in sides.items():
            prog = side.prog()
            for pid in pids[name]:
                stop(pid)
            go[name].put()
            wait_for(lambda: not alive(prog), "prog's exit")
        for name in first, OTHER[first]:
            for pid in pids[name]:
                os.kill(pid, signal.SIGCONT)
            if name == first:
                wait_quiet(*pids[name])
        assert verdicts(sides) == CODES
    for name in OTHER:
        assert took(tmp_path, name, blob, SIZE)


# -- data and codes ----------------------------------------------------------

SIZES = [0, 1, 16385, 300_000]


@pytest.mark.parametrize("down", SIZES)
@pytest.mark.parametrize("up", SIZES)
def test_whole_both_ways(pki, server, blob, tmp_path, up, down):
    """Both send at the same time, and close their outputs: each gets all that the other has sent."""
    both = f'({SEND}) & writer=$!; exec >&-; {TAKE}; wait "$writer" || exit; {EXIT}'
    with pair(pki, server, blob, tmp_path, dict.fromkeys(OTHER, both), sizes={"client": up, "server": down}) as sides:
        assert verdicts(sides) == CODES
    assert took(tmp_path, "server", blob, up)
    assert took(tmp_path, "client", blob, down)


ENDINGS = {"exit 0": 0, "exit 1": 1, "exit 98": 98, "exit 127": 127, "exit 128": 128, "exit 255": 128,
           "kill -TERM $$": 143, "kill -KILL $$": 137}


@pytest.mark.parametrize("servers, clients", zip(ENDINGS, [*ENDINGS][::-1]))
def test_each_has_its_own_progs_code(pki, server, blob, tmp_path, servers, clients):
    """However prog ends, and whatever the other one's does, with all data whole."""
    progs = {"client": f"{SEND}; exec >&-; {TAKE}; {clients}", "server": f"{TAKE}; {SEND}; {servers}"}
    with pair(pki, server, blob, tmp_path, progs) as sides:
        assert {name: side.wait() for name, side in sides.items()} == {
            "server": ENDINGS[servers], "client": ENDINGS[clients]}
        assert [side.stderr() for side in sides.values()] == ["", ""]
    for name in OTHER:
        assert took(tmp_path, name, blob, SIZE)


def test_engine_dies(pki, server, blob, tmp_path, first):
    """98 on both sides: the one says so, the other sees a reset, with neither prog at its end."""
    told = Fifo(tmp_path / "told")
    progs = dict.fromkeys(OTHER, f'echo x; read x; echo > {told.path}; {TAKE}; {EXIT}')
    with pair(pki, server, blob, tmp_path, progs) as sides:
        told.get(), told.get()
        os.kill(sides[first].engine(), signal.SIGKILL)
        assert verdicts(sides) == {first: "engine died (signal 9)", OTHER[first]: RESET}


# -- what they learn ---------------------------------------------------------

def hash_of(identity):
    return "SHA256:" + hashlib.sha256(identity.cert_der()).hexdigest()


def test_certificates_of_both(pki, server, blob, tmp_path):
    """-y on both sides: each knows the other's certificate, and both agree on protocol and cipher."""
    name = x509.Name([x509.NameAttribute(oid, text) for oid, text in (
        (NameOID.COUNTRY_NAME, "CH"), (NameOID.ORGANIZATION_NAME, "Zürich, #1"), (NameOID.COMMON_NAME, "alice"))])
    who = pki.issue("both", name)
    own = {"KEYFILE": who.keyfile, "CERTFILE": who.certfile}
    show = f'env | sed -n "/^SSL_/p" > "$taken"; {EXIT}'
    with pair(pki, server, blob, tmp_path, dict.fromkeys(OTHER, show), dict.fromkeys(OTHER, ["-y"]),
              env={"server": {"CAFILE": pki.cafile}, "client": own}) as sides:
        assert verdicts(sides) == CODES
    learnt = {name: dict(line.split("=", 1) for line in (tmp_path / name).read_text().splitlines()) for name in OTHER}
    known = {name: [learnt[name].pop(f"SSL_PEER_CERT_{what}") for what in ("SUBJECT", "HASH")] for name in OTHER}
    assert known == {"server": [r"CN=alice,O=Z\C3\BCrich\, #1,C=CH", hash_of(who)],
                     "client": ["CN=localhost", hash_of(pki.server)]}
    assert learnt["server"].pop("SSL_TLS_SNI_SERVERNAME") == "localhost"
    assert learnt["server"] == learnt["client"]
    assert learnt["client"]["SSL_PROTOCOL"] == ("TLSv1.3" if tls13(server) else "TLSv1.2")


REFUSED = "handshake failed: the peer's certificate is refused: "


@pytest.mark.parametrize("servers, clients, who, why", [
    ("server", None, "server", "handshake failed: peer did not return a certificate"),
    ("server", "stranger", "server", REFUSED + "bad signature in its chain"),
    ("stranger", "client", "client", REFUSED + "bad signature in its chain"),
    ("other", "client", "client", REFUSED + "it is not for localhost, but for other"),
], ids=["no client certificate", "strange client", "strange server", "other server"])
def test_one_refuses_the_others_certificate(pki, server, blob, tmp_path, servers, clients, who, why):
    """98 on both sides, the one that refuses says why, and the server's prog never runs."""
    known = {"server": pki.server, "client": pki.client, None: pki.client,
             "stranger": pki.issue("pair-stranger", "localhost", names=["localhost"], issuer_key=new_key()),
             "other": pki.issue("pair-other", "other", names=["other"])}
    env = {name: {"KEYFILE": known[shown].keyfile, "CERTFILE": known[shown].certfile}
           for name, shown in (("server", servers), ("client", clients))}
    env["server"]["CAFILE"] = pki.cafile
    options = {"server": ["-y"], "client": ["-y"] if clients else []}
    progs = {"server": 'touch "$taken"', "client": "cat"}
    with pair(pki, server, blob, tmp_path, progs, options, env=env) as sides:
        said = verdicts(sides)
    assert said[who] == why
    assert re.match("(handshake|TLS) failed: ", str(said[OTHER[who]]))
    assert not (tmp_path / "server").exists()

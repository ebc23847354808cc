"""The recipes of README.md do what they promise, as they stand there but for ports, hosts and paths."""

import contextlib
import os
import re
import shutil
import signal
import smtplib
import socket
import socketserver
import subprocess
import threading

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from harness import LIMIT, PROGRAM, PYTHON, ROOT, make_identity, survivors, wait_for

with open(os.path.join(ROOT, "README.md")) as f:
    RECIPES = dict(re.findall(r"^<!-- recipe: ([a-z ]+) -->\n```sh\n(.*?)^```", f.read(), flags=re.DOTALL | re.MULTILINE))

BIN = os.path.dirname(os.path.abspath(PROGRAM))
PROVIDERS = "/etc/ssl/certs/ca-certificates.crt"
# A server of the recipes, on any free port, which it prints.
LISTENS, LISTENS_HERE = r"tcpserver -RHl0 (0|127\.0\.0\.1) \d+ ", "tcpserver -1RHl0 127.0.0.1 0 "
# Nothing of the machine's own git configuration, and a name for whoever commits.
GIT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
       "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
       "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}


def recipe(name, swaps):
    """The recipe's text with each of `swaps` (old: new) put in; all of them must be there to be swapped."""
    text = RECIPES[name]
    for old, new in swaps.items():
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, str(new))
    return text


def shell(script, **kw):
    """Starts a shell on `script` in a session of its own, with the programs in its path and little else."""
    env = {"PATH": f"{BIN}:{os.environ['PATH']}", **{n: v for n, v in os.environ.items() if n.endswith("SAN_OPTIONS")}}
    return subprocess.Popen(["sh", "-euc", script], start_new_session=True, env=env | kw.pop("env", {}), **kw)


@contextlib.contextmanager
def serving(text, **kw):
    """
    Runs what listens, not where it says but on a free port of loopback; yields that port. Afterwards what serves a
    client may end by itself, with its last word in the log, before the listener is told to go.
    """
    text, n = re.subn(LISTENS, LISTENS_HERE, text)
    assert n == 1, text
    proc = shell(text, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **kw)
    try:
        port = int(proc.stdout.readline())
        listener = set(survivors(proc.pid))
        yield port
        wait_for(lambda: set(survivors(proc.pid)) <= listener, "what served the clients to end")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(proc.pid, signal.SIGTERM)
        proc.wait(LIMIT)
        proc.stdout.close()
        wait_for(lambda: not survivors(proc.pid), "all that the server started to end")


def run(text, **kw):
    """Runs what ends by itself: (exit code, what it wrote, what it complained of)."""
    with shell(text, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw) as proc:
        try:
            out, err = proc.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(proc.pid, signal.SIGKILL)
            raise
    return proc.returncode, out, err


def behind_tls(key, cert, command):
    """A server that is not of the recipe: `command`, behind TLS."""
    return f"export KEYFILE={key} CERTFILE={cert}\ntcpserver -RHl0 0 1 s6-tlsd {command}"


@pytest.fixture
def etc(tmp_path, pki):
    """A folder for /etc/tls: key.pem and cert.pem of a server called localhost, ca.pem."""
    for name, path in {"key.pem": pki.server.keyfile, "cert.pem": pki.server.certfile, "ca.pem": pki.cafile}.items():
        shutil.copy(path, tmp_path / name)
    return tmp_path


def test_every_recipe_is_tried_here():
    # The first in test_examples.py.
    assert list(RECIPES) == ["super server", "mail", "redis server", "redis client", "git server", "git client",
                             "mutual certificates", "mutual server", "mutual client"]


# -- mail --------------------------------------------------------------------

SUBMISSIONS = """
def say(text):
    sys.stdout.write(text + "\\r\\n")
    sys.stdout.flush()
say("220 mail")
with open(sys.argv[1], "w", buffering=1) as mail:
    for line in map(str.strip, sys.stdin):
        verb = line.split(" ")[0].upper()
        if verb == "DATA":
            say("354 go on")
            for line in map(str.strip, sys.stdin):
                if line == ".":
                    break
                mail.write(line + "\\n")
        say("221 bye" if verb == "QUIT" else "250 fine")
        if verb == "QUIT":
            break
"""


@contextlib.contextmanager
def mail_door(pki, tmp_path, cafile):
    """The recipe's door, with a mail server behind it; yields the port."""
    responder = tmp_path / "responder"
    responder.write_text(f"import os, sys\n{SUBMISSIONS}")
    server = behind_tls(pki.server.keyfile, pki.server.certfile, f"{PYTHON} {responder} {tmp_path}/mail")
    with serving(server) as port, open(tmp_path / "log", "w") as log:
        swaps = {PROVIDERS: cafile, "mail.example.org": "localhost", "submissions": port}
        with serving(recipe("mail", swaps), stderr=log) as door:
            yield door


def test_mail_goes_out_by_the_local_door(pki, tmp_path):
    with mail_door(pki, tmp_path, pki.cafile) as door:
        with smtplib.SMTP("127.0.0.1", door, timeout=LIMIT) as mailer:
            mailer.sendmail("a@example.org", ["b@example.org"], "Subject: hello\n\nOver TLS.\n")
        assert (tmp_path / "mail").read_text() == "Subject: hello\n\nOver TLS.\n"
    assert (tmp_path / "log").read_text() == ""


def test_mail_does_not_go_to_an_impostor(pki, tmp_path):
    other = pki.write("other-ca.pem", make_identity("Another CA", ca=True).cert_pem())
    with mail_door(pki, tmp_path, other) as door:
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            smtplib.SMTP("127.0.0.1", door, timeout=LIMIT)
        assert not (tmp_path / "mail").exists()
    assert "the peer's certificate is refused: " in (tmp_path / "log").read_text()


# -- Redis -------------------------------------------------------------------

class Redis(socketserver.StreamRequestHandler):
    """As much of Redis as SET and GET need, for any number of commands."""

    values = {}

    def handle(self):
        while head := self.rfile.readline():
            words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
            if words[0] == b"SET":
                self.values[words[1]] = words[2]
                self.wfile.write(b"+OK\r\n")
            else:
                value = self.values[words[1]]
                self.wfile.write(b"$%d\r\n%s\r\n" % (len(value), value))


@contextlib.contextmanager
def redis():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Redis) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def test_redis_is_reached_from_the_other_machine(etc):
    value = os.urandom(200_000)
    with redis() as behind, serving(recipe("redis server", {"/etc/tls": etc, ":6379": f":{behind}"})) as port:
        swaps = {"/etc/tls": etc, "redis.example.org": "localhost", "6380": port}
        with serving(recipe("redis client", swaps)) as door, socket.create_connection(("127.0.0.1", door), LIMIT) as s:
            replies = s.makefile("rb")
            s.sendall(command(b"SET", b"key", value))
            assert replies.readline() == b"+OK\r\n"
            # What was asked before the end is answered behind it.
            s.sendall(command(b"GET", b"key") * 5)
            s.shutdown(socket.SHUT_WR)
            assert replies.read() == (b"$%d\r\n%s\r\n" % (len(value), value)) * 5


# -- git ---------------------------------------------------------------------

@pytest.fixture
def project(tmp_path):
    """A folder for /srv/git with one repository, project.git; returns its commit."""
    code, out, err = run(f"""
        mkdir "{tmp_path}/git"
        git init -q "{tmp_path}/work" && cd "{tmp_path}/work"
        seq 20000 >numbers
        git add numbers && git commit -qm first
        git clone -q --bare . "{tmp_path}/git/project.git"
        git rev-parse HEAD""", env=GIT | {"HOME": str(tmp_path)})
    assert (code, err) == (0, "")
    return out


def clone(etc, tmp_path, port):
    text = recipe("git client", {"/etc/tls": etc, "git.example.org": f"localhost:{port}"})
    return run(f"cd '{tmp_path}'\n{text}", env=GIT | {"HOME": str(tmp_path)})


def test_git_clones(etc, project, tmp_path):
    text = recipe("git server", {"/etc/tls": etc, "/srv/git": tmp_path / "git"})
    with serving(text, env=GIT | {"HOME": str(tmp_path)}, stderr=subprocess.DEVNULL) as port:
        assert clone(etc, tmp_path, port)[0] == 0
    cloned = run(f"git -C '{tmp_path}/project' rev-parse HEAD && git -C '{tmp_path}/project' fsck", env=GIT)
    assert cloned[:2] == (0, project)


def test_git_shows_why_a_server_is_refused(etc, tmp_path):
    own = make_identity("localhost", names=["localhost"], eku=[ExtendedKeyUsageOID.SERVER_AUTH]).files(etc, "own")
    with serving(behind_tls(*own, "cat"), stderr=subprocess.DEVNULL) as port:
        code, _, err = clone(etc, tmp_path, port)
    assert code == 128 and "s6-tlsclient: fatal: " in err and "the peer's certificate is refused: " in err


# -- two machines ------------------------------------------------------------

@pytest.fixture
def ours(tmp_path):
    """The folder in which the recipe has made an authority and two certificates."""
    code, _, err = run(f"cd '{tmp_path}'\n{recipe('mutual certificates', {})}")
    assert code == 0, err
    (tmp_path / "report").write_bytes(b"x" * 100_000)
    return tmp_path


def mutual(ours, client_swaps=None, log=subprocess.DEVNULL):
    with serving(recipe("mutual server", {"/etc/tls": ours}), stderr=log) as port:
        return run(recipe("mutual client", {"-RHl0 b.example.org 7000": f"-RHl0 127.0.0.1 {port}", "/etc/tls": ours,
                                            "/etc/hosts": ours / "report"} | (client_swaps or {})))


def test_two_machines_know_each_other(ours):
    assert mutual(ours) == (0, "from CN=a.example.org, bytes:\n100000\n", "")


def test_who_shows_no_certificate_is_not_served(ours):
    with open(ours / "log", "w") as log:
        code, out, err = mutual(ours, {"s6-tlsc -y ": "s6-tlsc "}, log)
    assert (code, out) == (98, "") and "s6-tlsc: fatal: " in err
    assert re.search("handshake failed: .*(certificate|CERTIFICATE)", (ours / "log").read_text())


def test_who_shows_a_certificate_of_another_authority_is_not_served(ours, pki):
    stranger = make_identity("a.example.org", pki.ca, eku=[ExtendedKeyUsageOID.CLIENT_AUTH])
    stranger.files(ours, "stranger")
    with open(ours / "log", "w") as log:
        code, out, _ = mutual(ours, {"a.key": "stranger.key", "a.pem": "stranger.pem"}, log)
    assert (code, out) == (98, "")
    assert "the peer's certificate is refused: " in (ours / "log").read_text()


def test_the_other_machine_must_be_the_one_that_was_meant(ours):
    code, out, err = mutual(ours, {"-k b.example.org": "-k c.example.org"})
    assert (code, out) == (98, "") and "the peer's certificate is refused: " in err

"""The files in examples/ are those that README.md shows, and do what it says, but for ports, users and paths."""

import configparser
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

from harness import LIMIT, ROOT, children, make_identity, survivors, wait_for
from test_recipes import BIN, etc, recipe, run, shell  # noqa: F401 (a fixture)

EXAMPLES = os.path.join(ROOT, "examples")

with open(os.path.join(ROOT, "README.md")) as f:
    README = f.read()
SHOWN = dict(re.findall(r"^<!-- example: (\S+) -->\n```[a-z]*\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE))

# The program that is served: it says who it is, and then what it reads.
SERVED = "id -u; cat"
UNPRIVILEGED = "65534\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="ids change")


def read(name):
    with open(os.path.join(EXAMPLES, name)) as f:
        return f.read()


def example(name, swaps):
    """The file's text with each of `swaps` (old: new) put in; all of them must be there to be swapped."""
    text = read(name)
    for old, new in swaps.items():
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, str(new))
    return text


def environment(**more):
    sanitizers = {n: v for n, v in os.environ.items() if n.endswith("SAN_OPTIONS")}
    return {"PATH": f"{BIN}:{os.environ['PATH']}", **sanitizers, **more}


def said(path, pattern):
    """Waits for a line in the log that matches, and returns what it found."""
    def found():
        with open(path) as log:
            return re.search(pattern, log.read())
    return wait_for(found, f"{pattern} in {path}")


def port_in(log):
    return int(said(log, r"event=start .* port=(\d+)")[1])


def answer(port, cafile):
    """What the program says to a client that greets it."""
    code, out, err = run(f"echo hello | s6-tlsclient localhost {port}", env={"CAFILE": str(cafile)})
    assert (code, err) == (0, "")
    return out


def certificate(port, cafile):
    context = ssl.create_default_context(cafile=cafile)
    with socket.create_connection(("127.0.0.1", port), LIMIT) as s:
        with context.wrap_socket(s, server_hostname="localhost") as tls:
            return tls.getpeercert(binary_form=True)


def replace(etc, pki):  # noqa: F811
    """Puts another key and certificate in place; returns the certificate."""
    other = make_identity("localhost", pki.ca, names=["localhost"])
    for name, data in {"key.pem": other.key_pem(), "cert.pem": other.cert_pem()}.items():
        (etc / "new").write_bytes(data)
        os.rename(etc / "new", etc / name)
    return other.cert_der()


@contextlib.contextmanager
def running(command, **kw):
    """Starts a program in a session of its own, nothing of which may be left in the end."""
    proc = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, **kw)
    try:
        yield proc
    finally:
        proc.terminate()  # for s6-supervise, whose service has a session of its own, to end that as well
        proc.wait(LIMIT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(proc.pid, signal.SIGKILL)
        wait_for(lambda: not survivors(proc.pid), "all that was started to end")


def test_readme_shows_them_as_they_are():
    there = {os.path.relpath(os.path.join(folder, name), EXAMPLES)
             for folder, _, names in os.walk(EXAMPLES) for name in names}
    assert there == SHOWN.keys() | {"s6/my-server/notification-fd"}
    assert SHOWN == {name: read(name) for name in SHOWN}
    assert read("s6/my-server/notification-fd") == "3\n" and "`my-server/notification-fd`\nhas the line `3`" in README


def test_the_super_server_of_the_readme(etc):  # noqa: F811
    text = recipe("super server", {"/etc/tls": etc, " 0 443 my-server": f" -1 127.0.0.1 0 sh -c '{SERVED}'"})
    with shell(text, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline())
        assert answer(port, etc / "ca.pem") == f"{os.getuid()}\nhello\n"
        os.killpg(server.pid, signal.SIGTERM)  # the shell as well
        assert server.stderr.read() == ""
    wait_for(lambda: not survivors(server.pid), "all that the server started to end")


# -- s6 ----------------------------------------------------------------------

def s6(*words):
    result = subprocess.run(words, stdout=subprocess.PIPE, timeout=LIMIT, text=True)
    assert result.returncode == 0, words
    return result.stdout.strip()


@as_root
def test_the_s6_service(etc, pki, tmp_path):  # noqa: F811
    service = shutil.copytree(os.path.join(EXAMPLES, "s6", "my-server"), tmp_path / "service")
    swaps = {"/etc/tls": etc, " www\n": " nobody\n", " 0 443\n": " 127.0.0.1 0\n", "my-server\n": f'sh -c "{SERVED}"\n'}
    (service / "run").write_text(example("s6/my-server/run", swaps))
    log = tmp_path / "log"
    with open(log, "w") as out, running(["s6-supervise", service], stdout=out, env=environment()) as supervisor:
        wait_for(lambda: subprocess.run(["s6-svstat", service], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL).returncode == 0, "s6-supervise")
        s6("s6-svwait", "-U", "-t", str(int(LIMIT * 1000)), service)
        pid = int(s6("s6-svstat", "-o", "pid", service))
        port = port_in(log)
        assert answer(port, pki.cafile) == f"{UNPRIVILEGED}hello\n"

        new = replace(etc, pki)
        s6("s6-svc", "-1", service)
        said(log, "event=reload")
        assert certificate(port, pki.cafile) == new

        s6("s6-svc", "-wD", "-dx", service)
        assert supervisor.wait(LIMIT) == 0
    wait_for(lambda: not survivors(pid), "all that the service started to end")


# -- systemd -----------------------------------------------------------------

def unit(name, swaps):
    parser = configparser.ConfigParser(interpolation=None, delimiters="=")
    parser.optionxform = str
    parser.read_string(example(name, swaps))
    return parser["Service"]


def as_systemd_starts(service):
    """The command, but for the descriptor and the pid."""
    kept = "".join(f",+{word[4:].lower()}" for word in service["CapabilityBoundingSet"].split())
    listening = ["sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "sh"]
    return ["setpriv", f"--bounding-set=-all{kept}", *listening, *shlex.split(service["ExecStart"])]


@as_root
def test_the_systemd_unit(etc, pki, tmp_path):  # noqa: F811
    service = unit("systemd/my-server.service", {
        "/etc/tls": etc, "/usr/local/bin/s6-": f"{BIN}/s6-", "/usr/local/bin/my-server": f'sh -c "{SERVED}"'})
    assert (service["Type"], service["KillMode"]) == ("notify", "mixed")
    manager, log = tmp_path / "notify", tmp_path / "log"
    variables = dict(word.split("=", 1) for word in shlex.split(service["Environment"]))

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, socket.create_server(("127.0.0.1", 0)) as listener:
        notify.bind(str(manager))
        notify.settimeout(LIMIT)
        port = listener.getsockname()[1]
        handed = listener.detach()
        saved = os.dup(3)
        os.dup2(handed, 3)
        with open(log, "w") as err, running(as_systemd_starts(service), stderr=err, pass_fds=[3],
                                            env=environment(NOTIFY_SOCKET=str(manager), **variables)) as main:
            os.dup2(saved, 3)
            os.close(saved)
            os.close(handed)
            assert notify.recv(100) == b"READY=1"
            assert answer(port, pki.cafile) == "902\nhello\n"

            new = replace(etc, pki)
            assert run(service["ExecReload"].replace("$MAINPID", str(main.pid))) == (0, "", "")
            said(log, "event=reload")
            assert certificate(port, pki.cafile) == new

            main.terminate()
            assert main.wait(LIMIT) == 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not there")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    programs = {"/usr/local/bin/s6-": f"{BIN}/s6-", "/usr/local/bin/my-server": "/bin/cat"}
    for name, swaps in {"my-server.service": programs, "my-server.socket": {}}.items():
        (tmp_path / name).write_text(example(f"systemd/{name}", swaps))
    units = [tmp_path / "my-server.socket", tmp_path / "my-server.service"]
    result = subprocess.run(["systemd-analyze", "verify", *units], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, timeout=LIMIT)
    assert (result.returncode, result.stdout) == (0, "")


# -- Docker ------------------------------------------------------------------

# As in a container the program is the first process, where that can be had.
FIRST = ["unshare", "--pid", "--fork", "--kill-child"]


def alone():
    return FIRST if subprocess.run([*FIRST, "true"], stderr=subprocess.DEVNULL).returncode == 0 else []


@as_root
def test_what_the_container_runs(etc, pki, tmp_path):  # noqa: F811
    text = example("docker/Dockerfile", {
        "/etc/tls": etc, '"0", "443"': '"127.0.0.1", "0"', '"my-server"': f'"sh", "-c", "{SERVED}"'})
    command = json.loads(re.search("^CMD (.*)$", text, flags=re.MULTILINE)[1])
    variables = dict(word.split("=", 1) for word in re.search("^ENV (.*)$", text, flags=re.MULTILINE)[1].split())
    log, first = tmp_path / "log", alone()
    with open(log, "w") as err, running([*first, *command], stderr=err, env=environment(**variables)) as proc:
        port = port_in(log)
        assert answer(port, pki.cafile) == "902\nhello\n"
        os.kill(children(proc.pid)[0] if first else proc.pid, signal.SIGTERM)
        assert proc.wait(LIMIT) == 0

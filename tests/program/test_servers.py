"""Servers that people really use, and the client in front of them: openssl s_server, gnutls-serv, nginx, stunnel.

Each listens on a port that is free, ends with the test, and writes and reads nowhere but in the test's folder.
"""

import base64
import contextlib
import os
import re
import shutil
import socket
import subprocess

import pytest

from harness import LIMIT, TLSC, TLSCLIENT, minimal_environment, placed, wait_for

SIZE = 300_000
SYSTEM_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"  # of an ordinary user, too


# -- the servers -------------------------------------------------------------

def port_of(pid):
    """The port on which the process listens with IPv4; None while it does on none."""
    with contextlib.suppress(OSError):
        found = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        with open("/proc/net/tcp") as table:
            for _, local, _, state, *_, inode in (line.split()[:10] for line in table.readlines()[1:]):
                if state == "0A" and f"socket:[{inode}]" in found:
                    return int(local.split(":")[1], 16)
    return None


@contextlib.contextmanager
def listening(command, folder, **kw):
    """Starts a server; yields its port once it listens. Its output is the file `output`, its input stays open."""
    path = shutil.which(command[0], path=SYSTEM_PATH)
    with open(folder / "output", "wb") as output, open(folder / "errors", "w+") as errors:
        proc = subprocess.Popen([path, *command[1:]], cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=errors,
                                **kw)
        try:
            port = wait_for(lambda: proc.poll() is not None or port_of(proc.pid), "the server to listen")
            assert proc.poll() is None, (folder / "errors").read_text()
            yield port
        finally:
            proc.terminate()
            proc.wait(LIMIT)
            proc.stdin.close()


@contextlib.contextmanager
def s_server(pki, version, folder, uploads):
    """A web server of files; or, for an upload, what writes all that it gets."""
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-key", pki.server.keyfile,
               "-cert", pki.server.certfile, "-tls" + version.replace(".", "_"), "-quiet" if uploads else "-WWW"]
    with listening(command, folder) as port:
        yield port


@contextlib.contextmanager
def gnutls_serv(pki, version, folder, uploads):
    """A web server of one file, or an echo. It cannot be told to listen on loopback alone."""
    command = ["gnutls-serv", "--quiet", "--port", "0", "--x509keyfile", pki.server.keyfile,
               "--x509certfile", pki.server.certfile, "--disable-client-cert",
               "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}",
               *(["--echo"] if uploads else ["--http", "--httpdata=" + str(folder / "reply")])]
    with listening(command, folder) as port:
        yield port


NGINX = """
daemon off;
user root;
pid pid;
error_log stderr;
events {{ }}
http {{
	access_log off;
	client_body_temp_path bodies;
	proxy_temp_path proxied;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	server {{
		listen 127.0.0.1:{port} ssl;
		ssl_certificate {cert};
		ssl_certificate_key {key};
		ssl_protocols TLSv{version};
		root {folder};
		dav_methods PUT;
	}}
}}
"""


@contextlib.contextmanager
def nginx(pki, version, folder, uploads):
    """A web server of files, which also takes some. It listens on a socket that it is given, as at an upgrade."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        (folder / "nginx.conf").write_text(NGINX.format(
            port=listener.getsockname()[1], cert=pki.server.certfile, key=pki.server.keyfile, version=version,
            folder=folder))
        with listening(["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], folder,
                       pass_fds=[listener.fileno()], env=os.environ | {"NGINX": f"{listener.fileno()};"}) as port:
            yield port


STUNNEL = """
foreground = yes
pid =
[door]
accept = 127.0.0.1:0
cert = {cert}
key = {key}
sslVersion = TLSv{version}
exec = {folder}/door
"""


@contextlib.contextmanager
def stunnel(pki, version, folder, uploads):
    """What gives a connection to a program of its own."""
    door = folder / "door"
    served = f"cat > {folder}/output" if uploads else f"read _; read _; cat {folder}/reply"
    door.write_text(f"#!/bin/sh\n{served}\n")
    door.chmod(0o755)
    (folder / "conf").write_text(STUNNEL.format(cert=pki.server.certfile, key=pki.server.keyfile, version=version,
                                                folder=folder))
    with listening(["stunnel", str(folder / "conf")], folder) as port:
        yield port


SERVERS = [s_server, gnutls_serv, nginx, stunnel]


# -- the clients -------------------------------------------------------------

def tlsc(port, options, prog, **kw):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        with placed(sock, sock, [TLSC, *options, *prog]) as (command, fds):
            proc = subprocess.Popen(command, pass_fds=fds, **kw)
    return proc


def tlsclient(port, options, prog, **kw):
    return subprocess.Popen([TLSCLIENT, "-H4", *options, "localhost", str(port), *prog], **kw)


@pytest.fixture(params=SERVERS, ids=lambda f: f.__name__)
def server(request):
    return request.param


@pytest.fixture(params=[tlsc, tlsclient], ids=lambda f: f.__name__)
def client(request):
    return request.param


def run(client, pki, folder, port, prog, options=(), name="localhost"):
    """Runs the client to its end: (exit code, what it wrote to stderr)."""
    proc = client(port, ["--linger=2000000", "-k", name, *options], ["sh", "-c", prog], cwd=folder,
                  env=minimal_environment(CAFILE=pki.cafile), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                  text=True)
    with proc:
        try:
            _, errors = proc.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            proc.kill()
            raise
    return proc.returncode, errors


# -- both together -----------------------------------------------------------

def head(method, length=None):
    """A request for, or the upload of, the file `reply`."""
    return f"{method} /reply HTTP/1.0\r\n" + (f"Content-Length: {length}\r\n" if length else "") + "\r\n"


def exchange(version, n=None):
    """A prog that sends the file `request`, and writes to `got` what comes, but no more than n bytes."""
    return f"""
test "$SSL_PROTOCOL" = TLSv{version} || exit 8
cat request >&7 &
{f"head -c {n}" if n else "cat"} <&6 >got
wait
exit 5"""


def test_whole_reply(pki, blob, tmp_path, server, client, version):
    """The reply is whole, and its end is one that -J accepts; prog's code is the client's."""
    (tmp_path / "reply").write_bytes(blob.data[:SIZE])
    (tmp_path / "request").write_text(head("GET"))
    with server(pki, version, tmp_path, False) as port:
        assert run(client, pki, tmp_path, port, exchange(version), ["-J"]) == (5, "")
    got = (tmp_path / "got").read_bytes()
    assert got[-SIZE:] == blob.data[:SIZE]
    assert len(got) == SIZE if server is stunnel else re.match(rb"HTTP/1.[01] 200 (.+\r\n)+\r\n", got[:-SIZE])


def test_whole_upload(pki, blob, tmp_path, server, client, version):
    """What prog sends arrives whole: in a file, or back again, which gnutls-serv does with lines alone."""
    data = blob.data[:SIZE] if server is not gnutls_serv else base64.encodebytes(blob.data[:SIZE])
    (tmp_path / "request").write_bytes((head("PUT", SIZE).encode() if server is nginx else b"") + data)
    whole = {nginx: "reply", gnutls_serv: "got"}.get(server, "output")
    prog = {nginx: exchange(version), gnutls_serv: exchange(version, len(data))}.get(server, "cat request >&7; exit 5")
    with server(pki, version, tmp_path, True) as port:
        assert run(client, pki, tmp_path, port, prog, ["-S"]) == (5, "")
    assert (tmp_path / whole).read_bytes() == data


@pytest.mark.parametrize("name, refused", [("localhost", None), ("127.0.0.1", None), ("example.org", "example.org"),
                                           ("127.0.0.2", "127.0.0.2")])
def test_name_is_verified(pki, tmp_path, server, client, version, name, refused):
    """A server whose certificate bears another name is refused, and why; prog never runs for it."""
    (tmp_path / "reply").write_text("hi\n")
    (tmp_path / "request").write_text(head("GET"))
    prog = "echo >ran" + exchange(version)
    with server(pki, version, tmp_path, False) as port:
        code, errors = run(client, pki, tmp_path, port, prog, name=name)
    if not refused:
        assert (code, errors) == (5, "")
        return
    assert code == 98 and not (tmp_path / "ran").exists()
    assert re.fullmatch(rf"s6-tls(c|client): fatal: .* handshake failed: the peer's certificate is refused: "
                        rf"it is not for {re.escape(name)}, but for localhost, 127.0.0.1\n", errors)

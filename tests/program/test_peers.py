"""Clients that people really use in front of it: openssl s_client, gnutls-cli, curl."""

import signal
import subprocess

import pytest

from harness import ABLE, LIMIT, Tlsd, connecting, needs_tls13, python

S_CLIENT_VERSION = {"1.2": "-tls1_2", "1.3": "-tls1_3"}
GNUTLS_VERSION = {"1.2": "NORMAL:-VERS-ALL:+VERS-TLS1.2", "1.3": "NORMAL:-VERS-ALL:+VERS-TLS1.3"}
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def run(pki, command, prog, options=(), data=b"", code=0):
    """Runs the client on `data`, a Tlsd with prog behind it; returns its output. It must end well, prog with `code`."""
    with connecting(command, **PIPES) as (client, server):
        with Tlsd(pki, prog, options, stdin=server, stdout=server) as tlsd:
            server.close()
            output, errors = client.communicate(data, LIMIT)
            assert client.returncode == 0, errors
            assert tlsd.wait() == code
            assert tlsd.stderr() == ""
    return output


def s_client(pki, version, *options):
    return ["openssl", "s_client", "-connect", "127.0.0.1:{port}", "-CAfile", pki.cafile, "-verify_return_error",
            "-verify_hostname", "localhost", S_CLIENT_VERSION[version], *options]


def gnutls_cli(pki, version, log):
    return ["gnutls-cli", "--x509cafile", pki.cafile, "--priority", GNUTLS_VERSION[version], "--port", "{port}",
            "--sni-hostname", "localhost", "--verify-hostname", "localhost", "--logfile", str(log), "127.0.0.1"]


def curl(pki, version, *options):
    return ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", str(int(LIMIT)),
            "--cacert", pki.cafile, "--tlsv" + version, "--tls-max", version, *options,
            "--resolve", "localhost:{port}:127.0.0.1", "https://localhost:{port}/"]


# -- openssl s_client --------------------------------------------------------

def test_s_client_reads_a_reply(pki, blob, version):
    """s_client gets the whole reply to its request and ends well."""
    prog = ["sh", "-c", 'read line && test "$line" = request && exec head -c 300000 "$0"', blob.path]
    assert run(pki, s_client(pki, version, "-quiet"), prog, ["-S"], b"request\n") == blob.data[:300_000]


def test_s_client_uploads(pki, blob, version):
    """What s_client sends arrives as it was."""
    data = blob.data[:300_000]
    prog = ["sh", "-c", 'head -c 300000 | sha256sum']
    assert run(pki, s_client(pki, version, "-quiet"), prog, ["-S"], data).decode().split()[0] == blob.sha(300_000)


@needs_tls13
def test_s_client_updates_its_keys(pki):
    """The commands k and K of s_client, a KeyUpdate that asks for none of ours and one that does, harm no data."""
    with connecting(s_client(pki, "1.3", "-brief"), bufsize=0, **PIPES) as (client, server):
        with Tlsd(pki, ["cat"], stdin=server, stdout=server) as tlsd:
            server.close()
            for n, command in enumerate(b"kKkK"):
                client.stdin.write(b"line %d\n" % n)
                assert client.stdout.readline() == b"line %d\n" % n
                client.stdin.write(b"%c\n" % command)
                while client.stderr.readline() != b"KEYUPDATE\n":
                    pass
            client.stdin.close()
            client.stdin = None
            assert client.stdout.read() == b""
            assert client.wait(LIMIT) == 0
            assert tlsd.wait() == 0
            assert tlsd.stderr() == ""


# -- gnutls-cli --------------------------------------------------------------

def test_gnutls_cli_echoes(pki, tmp_path, version):
    """gnutls-cli gets back what it sent; its close_notify on EOF is understood, and ours is by it."""
    data = b"".join(b"line %d\n" % n for n in range(2000))
    command = gnutls_cli(pki, version, tmp_path / "log")
    if ABLE.replies_after_close_notify:
        assert run(pki, command, ["cat"], ["-S"], data) == data
    else:
        # How much of cat's output is out before the close_notify is a matter of time. tac writes behind it.
        assert run(pki, command, ["tac"], ["-S"], data, 128 + signal.SIGPIPE) == b""


def test_gnutls_cli_reads_a_reply(pki, blob, tmp_path, version):
    """gnutls-cli finds the reply whole and the connection properly terminated, as -S promises."""
    reply = tmp_path / "reply"
    reply.write_text(blob.data[:150_000].hex())
    with connecting(gnutls_cli(pki, version, tmp_path / "log"), **PIPES) as (client, server):
        with Tlsd(pki, ["cat", str(reply)], ["-S"], stdin=server, stdout=server) as tlsd:
            server.close()
            # The end of its input is its close_notify, which some backends answer at once.
            output = client.stdout.read(reply.stat().st_size)
            client.stdin.close()
            client.stdin = None
            assert client.stdout.read() == b""
            assert client.wait(LIMIT) == 0
            assert (tlsd.wait(), tlsd.stderr()) == (0, "")
    assert output.decode() == reply.read_text()
    assert "non-properly terminated" not in (tmp_path / "log").read_text()


# -- curl --------------------------------------------------------------------

HTTP = """
import hashlib
head = b""
while not head.endswith(b"\\r\\n\\r\\n"):
    head += os.read(0, 1)
size = [int(line.split(b":")[1]) for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:")]
body = sys.stdin.buffer.read(size[0]) if size else b""
with open(sys.argv[1], "rb") as f:
    reply = f.read(int(sys.argv[2])) if not size else hashlib.sha256(body).hexdigest().encode()
length = b"Content-Length: %d\\r\\n" % len(reply) if sys.argv[3] == "length" else b""
sys.stdout.buffer.write(b"HTTP/1.0 200 OK\\r\\n" + length + b"\\r\\n" + reply)
"""


@pytest.mark.parametrize("length", ["length", "until the end"])
@pytest.mark.parametrize("option", ["-s", "-S"])
def test_curl_downloads(pki, blob, version, option, length):
    """curl gets the whole reply, whether its length or the end of the connection says where it ends."""
    prog = python(HTTP, blob.path, 3_000_000, length)
    assert run(pki, curl(pki, version), prog, [option]) == blob.data[:3_000_000]


def test_curl_uploads(pki, blob, version):
    """curl sends 50 MB and gets their sum back."""
    command = curl(pki, version, "--header", "Expect:", "--data-binary", "@" + blob.path)
    output = run(pki, command, python(HTTP, blob.path, 0, "length"))
    assert output.decode() == blob.sha(len(blob.data))

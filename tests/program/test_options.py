"""The command line: every option in every form, and what is refused."""

import os
import re
import socket
import subprocess
import tempfile
import time

import pytest

from harness import (ABLE, Client, LIMIT, NEWEST, PROGRAM, Tlsd, one_line, refusal, refused_at_start, session,
                     tcp_pair)

OPTIONS = {
    "-S": "--close-notify", "-s": "--no-close-notify", "-J": "--enforce-close-notify", "-j": None,
    "-Y": "--client-cert", "-y": "--mandatory-client-cert", "-Z": "--keep", "-z": "--no-keep",
    "-v": "--verbosity", "-K": "--idle-timeout",
}
LONG_ONLY = ["--half-close-notify", "--handshake-timeout", "--linger", "--log-fd", "--sandbox", "--backend", "--version",
             "--help"]
NUMBERS = ["-v", "-K", "--verbosity", "--idle-timeout", "--handshake-timeout", "--linger", "--log-fd"]
FLAGS = [word for pair in OPTIONS.items() for word in pair if word and word not in NUMBERS] + ["--half-close-notify"]
LARGEST = "2147483647"


def words(text):
    return text.split()


def names(message, option):
    """Whether the message names the option as it was written, or by its other form."""
    other = OPTIONS.get(option) or {long: short for short, long in OPTIONS.items()}.get(option) or option
    return any(re.search(rf"(?<![\w-]){re.escape(form)}(?![\w-])", message.split("; usage:")[0])
               for form in (option, other))


# -- what each option does, however it is written -----------------------------

@pytest.mark.parametrize("options, end", [
    ("", "fin"), ("-s", "fin"), ("--no-close-notify", "fin"), ("-S", "close_notify"),
    ("--close-notify", "close_notify"), ("--half-close-notify", "close_notify"),
    ("-s -S", "close_notify"), ("-sS", "close_notify"), ("-S -s", "fin"), ("-Ss", "fin"),
    ("--close-notify --no-close-notify", "fin"), ("--half-close-notify -s", "fin"),
    ("-s --half-close-notify", "close_notify"), ("-zjSK60000", "close_notify"),
])
def test_how_eof_is_sent(pki, options, end):
    """-S sends close_notify, -s a FIN; the later one wins."""
    with session(pki, ["echo", "x"], words(options)) as (tlsd, client):
        assert client.read_all() == b"x\n"
        assert client.end == end
        client.fin()
        assert tlsd.wait() == 0


@pytest.mark.parametrize("options, late", [
    ("--half-close-notify", "late"), ("-S", ""), ("-S --half-close-notify", "late"), ("--half-close-notify -S", ""),
])
def test_half_close_notify_delivers_what_comes_later(pki, options, late):
    """--half-close-notify closes our direction only, -S both; the later one wins. Without TLS 1.3 both are the same."""
    with session(pki, ["sh", "-c", "exec cat >&2"], words(options), version=NEWEST) as (tlsd, client):
        assert client.read_all() == b""
        assert client.end == "close_notify"
        client.send(b"late")
        client.fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == (late if ABLE.tls13 else "")


@pytest.mark.parametrize("options, code", [
    ("", 0), ("-j", 0), ("-J", 98), ("--enforce-close-notify", 98), ("-jJ", 98), ("-J -j", 0),
    ("--enforce-close-notify -j", 0), ("-JSv1", 98),
])
def test_eof_without_close_notify(pki, options, code):
    """-J makes the peer's bare EOF an error, -j does not; the later one wins."""
    with session(pki, ["cat"], words(options)) as (tlsd, client):
        client.fin()
        assert tlsd.wait() == code
        if code:
            one_line(tlsd.stderr())
        else:
            assert tlsd.stderr() == ""


@pytest.mark.parametrize("options, asks, demands", [
    ("", False, False), ("-Y", True, False), ("--client-cert", True, False), ("-y", True, True),
    ("--mandatory-client-cert", True, True), ("-Yy", True, True), ("-yY", True, False),
    ("--client-cert --mandatory-client-cert", True, True), ("-y --client-cert", True, False), ("-SYv1", True, False),
])
def test_asking_for_a_client_certificate(pki, options, asks, demands):
    """-Y asks for a certificate, -y demands one, neither does not ask; the later one wins."""
    prog = ["sh", "-c", "echo ${SSL_PEER_CERT_HASH:+asked}"]
    env = {"CAFILE": pki.cafile}
    with session(pki, prog, words(options), identity=pki.client, env=env) as (tlsd, client):
        assert client.read_all() == (b"asked\n" if asks else b"\n")
        client.fin()
        assert tlsd.wait() == 0
    with Tlsd(pki, prog, words(options), env=env) as tlsd:
        client = Client(tlsd.sock, pki)
        if demands:
            assert "ALERT" in refusal(client)
            client.close()
            assert tlsd.wait() == 98
        else:
            assert client.handshake().read_all() == b"\n"
            client.fin()
            assert tlsd.wait() == 0


@pytest.mark.parametrize("options, kept", [
    ("", False), ("-z", False), ("--no-keep", False), ("-Z", True), ("--keep", True), ("-zZ", True), ("-Zz", False),
    ("-Z --no-keep", False), ("--no-keep --keep", True), ("-SZK60000", True),
])
def test_keeping_the_variables(pki, options, kept):
    """-Z keeps our variables, -z removes them; the later one wins."""
    with session(pki, ["sh", "-c", "echo ${KEYFILE+kept}"], words(options)) as (tlsd, client):
        assert client.read_all() == (b"kept\n" if kept else b"\n")
        client.fin()
        assert tlsd.wait() == 0


@pytest.mark.parametrize("options, lines", [
    ("", 0), ("-v0", 0), ("-v 1", 0), ("-v2", 2), ("-v 2", 2), ("--verbosity=2", 2), ("--verbosity 2", 2),
    ("-SZv2", 2), ("-SZv 2", 2), ("-v0 -v2", 2), ("-v2 --verbosity=0", 0), ("--verbosity=0 -v2", 2),
])
def test_verbosity(pki, options, lines):
    """From -v2 on there are two lines a connection; the last number wins."""
    ids = {"TLS_UID": "65534", "TLS_GID": "65534"}
    with session(pki, ["true"], words(options), env=ids) as (tlsd, client):
        client.read_all()
        client.fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr().count(" event=") == tlsd.stderr().count("\n") == lines


@pytest.mark.parametrize("options", [
    "-K50", "-K 50", "--idle-timeout=50", "--idle-timeout 50", "-SK50", "-SK 50", "-K600000 -K50",
    "-K600000 --idle-timeout=50", "-K0 -K50", "--handshake-timeout=50", "--handshake-timeout 50",
    "--handshake-timeout=600000 --handshake-timeout=50", "-K600000 --handshake-timeout=50",
    "-K50 --handshake-timeout=600000",
])
def test_timeout_ends_a_silent_client(pki, options):
    """Both timeouts bound the handshake, and the last number wins."""
    with Tlsd(pki, ["cat"], words(options)) as tlsd:
        assert tlsd.sock.recv(64)[:1] in (b"", b"\x15")
        tlsd.sock.close()
        assert tlsd.wait() == 98
        one_line(tlsd.stderr())


@pytest.mark.parametrize("options", ["", "-K0", "-K50 -K0", "-K 50 --idle-timeout 0", "--handshake-timeout=0",
                                     "--handshake-timeout=50 --handshake-timeout=0", f"-K{LARGEST}"])
def test_no_timeout(pki, options):
    """0, the default, is never."""
    with Tlsd(pki, ["cat"], words(options)) as tlsd:
        with pytest.raises(subprocess.TimeoutExpired):
            tlsd.wait(0.25)
        Client(tlsd.sock, pki).handshake().fin()
        assert tlsd.wait() == 0


@pytest.mark.parametrize("options", ["--linger=0", "--linger=20", "--linger 20", "--linger=600000 --linger=20"])
def test_short_linger(pki, options):
    """A peer that does not close is waited for no longer than --linger, by default 2 s; the last number wins."""
    with session(pki, ["true"], words(options)) as (tlsd, client):
        client.read_all()
        start = time.monotonic()
        assert tlsd.wait() == 0
        assert time.monotonic() - start < 1.9


@pytest.mark.parametrize("options", ["--linger=600000", "--linger 600000", "--linger=0 --linger=600000"])
def test_long_linger(pki, options):
    """A peer that does not close is waited for as long as --linger says."""
    with session(pki, ["true"], words(options)) as (tlsd, client):
        assert client.read_all() == b""
        with pytest.raises(subprocess.TimeoutExpired):
            tlsd.wait(0.25)
        client.fin()
        assert tlsd.wait() == 0


@pytest.mark.parametrize("form", ["--log-fd={}", "--log-fd {}", "--log-fd=1 --log-fd={}"])
def test_log_fd(pki, form):
    """--log-fd takes the messages, and stderr gets none."""
    r, w = os.pipe()
    with open(r) as log:
        with Tlsd(pki, ["true"], words(form.format(w)), env={"KEYFILE": "/nonexistent"}, pass_fds=[w]) as tlsd:
            os.close(w)
            assert tlsd.wait() == 111
            assert tlsd.stderr() == ""
        assert "/nonexistent" in one_line(log.read())


@pytest.mark.parametrize("fd", [0, 1])
@pytest.mark.parametrize("kind", ["socket", "file"])
def test_log_fd_on_the_network(pki, fd, kind):
    """--log-fd=0 and --log-fd=1 are refused, whatever these are: nothing of ours goes there in clear."""
    option = f"--log-fd={fd}"
    if kind == "socket":
        code, message = refused_at_start(pki, [option])
    else:
        with tempfile.TemporaryFile() as file, Tlsd(pki, ["true"], [option], stdin=file, stdout=file) as tlsd:
            tlsd.sock.close()
            code, message = tlsd.wait(), one_line(tlsd.stderr())
            assert os.fstat(file.fileno()).st_size == 0
    assert code == 100 and names(message, option)


@pytest.mark.parametrize("options", ["--log-fd={} --nonsense", "--log-fd {} -K 7x", "--log-fd={} -S -x", "--log-fd={}"])
def test_log_fd_before_a_usage_error(pki, options):
    """A usage error goes where a --log-fd before it says."""
    r, w = os.pipe()
    with open(r) as log:
        with Tlsd(pki, [], words(options.format(w)), pass_fds=[w]) as tlsd:
            os.close(w)
            assert tlsd.wait() == 100
            assert tlsd.stderr() == ""
        assert "usage: s6-tlsd" in one_line(log.read())


# -- the grammar ----------------------------------------------------------------

@pytest.mark.parametrize("number", ["0", LARGEST])
def test_every_number_has_the_whole_range(pki, number):
    """Numbers go from 0 to 2147483647."""
    options = [f"-K{number}", f"--handshake-timeout={number}", "--linger", number, "-v", number]
    with session(pki, ["cat"], options) as (tlsd, client):
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        client.fin()
        assert tlsd.wait() == 0


@pytest.mark.parametrize("number", ["", "x", "-1", "+1", " 1", "1 ", "1x", "0x10", "1e3", "1.5", "1,5", "--",
                                    "2147483648", "4294967296", "18446744073709551617", "9" * 400, "\u0661"])
@pytest.mark.parametrize("option", ["-K", "--linger"])
def test_bad_number(pki, option, number):
    """What is no decimal number in the range is refused by the option's name."""
    code, message = refused_at_start(pki, [option, number])
    assert code == 100 and names(message, option)


@pytest.mark.parametrize("option", NUMBERS)
def test_bad_number_in_every_form(pki, option):
    """A number is checked as soon as it is read, whatever follows."""
    separate, joined = [option, "7x"], [f"{option}=7x" if option.startswith("--") else f"{option}7x"]
    for options in separate, joined, ["-SZ", *separate, "-K1"]:
        code, message = refused_at_start(pki, options)
        assert code == 100 and names(message, option)


@pytest.mark.parametrize("option", NUMBERS)
def test_missing_argument(pki, option):
    """An option that takes a number needs one."""
    for options in [option], ["-S", option]:
        code, message = refused_at_start(pki, options, prog=[])
        assert code == 100 and names(message, option)


def test_missing_argument_at_the_end_of_a_cluster(pki):
    """In a cluster the letter at fault is named."""
    code, message = refused_at_start(pki, ["-SZK"], prog=[])
    assert code == 100 and names(message, "-K")


@pytest.mark.parametrize("options, option", [
    (["-x"], "-x"), (["-Sx"], "-x"), (["-SxK"], "-x"), (["-S", "-%"], "-%"), (["--nonsense"], "--nonsense"),
    (["--nonsense=1"], "--nonsense"), (["-S", "--nonsense", "-s"], "--nonsense"), (["--=1"], "--"), (["---"], "---"),
    (["--closenotify"], "--closenotify"), (["--Keep"], "--Keep"), (["-keep"], "-k"),
    (["-q"], "-q"), (["-Q"], "-Q"), (["-k", "name"], "-k"), (["-6", "8"], "-6"), (["-7", "8"], "-7"),
    (["--servername=x"], "--servername"), (["--no-verify-cert"], "--no-verify-cert"),
    (["--no-verify-name"], "--no-verify-name"),
])
def test_unknown_option(pki, options, option):
    """An unknown option, another program's included, is refused by its name."""
    code, message = refused_at_start(pki, options)
    assert code == 100 and option in message.split("; usage:")[0]


@pytest.mark.parametrize("option", [flag for flag in FLAGS if flag.startswith("--")])
def test_argument_where_none_is_taken(pki, option):
    """--name=value is refused where the option takes no value."""
    code, message = refused_at_start(pki, [f"{option}=1"])
    assert code == 100 and names(message, option)


@pytest.mark.parametrize("options", [[], ["--"], ["-S"], ["-S", "--"], ["-K700"], ["-K", "700", "--"]])
def test_no_prog(pki, options):
    """Without prog there is nothing to do: the usage is shown."""
    code, message = refused_at_start(pki, options, prog=[])
    assert code == 100 and "usage: s6-tlsd" in message and "prog" in message


def test_usage_names_every_option(pki):
    """The usage line, on one line with the error, has every option."""
    _, message = refused_at_start(pki, ["--nonsense"])
    usage = message.split("; usage: ")[1]
    for option in [*OPTIONS, *LONG_ONLY]:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", usage), option


@pytest.mark.parametrize("before", [[], ["-S"], ["-SK700"], ["--"], ["-S", "--"], ["-K", "60000", "--verbosity", "1"]])
def test_options_of_prog_are_untouched(pki, before):
    """Options end at the first word that is none, or at --: what follows is prog's."""
    own = ["-S", "--help", "--", "-x", "-K", "--version=2", ""]
    with session(pki, ["sh", "-c", "printf '<%s>' \"$@\"", "sh", *own], before) as (tlsd, client):
        assert client.read_all().decode() == "".join(f"<{word}>" for word in own)
        assert client.end == ("close_notify" if "-S" in "".join(before[:1]) else "fin")
        client.fin()
        assert tlsd.wait() == 0
        assert tlsd.stderr() == ""


def test_prog_that_looks_like_an_option(pki, tmp_path):
    """After -- even a word with a dash is prog."""
    (tmp_path / "-x").write_text("#!/bin/sh\necho dashed\n")
    (tmp_path / "-x").chmod(0o755)
    with session(pki, ["-x"], ["--"], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}) as (tlsd, client):
        assert client.read_all() == b"dashed\n"
        client.fin()
        assert tlsd.wait() == 0


# -- what is printed ------------------------------------------------------------

def printed(options, **kw):
    """Runs the program with a connection on stdin and nothing in the environment: what it printed."""
    client, server = tcp_pair()
    with client, server:
        client.sendall(b"unread")
        env = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
        done = subprocess.run([PROGRAM, *options], stdin=server, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=env, timeout=LIMIT, text=True, **kw)
        assert server.recv(64, socket.MSG_DONTWAIT) == b"unread"
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("options", [["--help"], ["-S", "--help"], ["--help", "cat"], ["-SK7", "--help", "--", "cat"]])
def test_help(options):
    """--help prints the usage and every option on stdout, and exits 0 without any variable set."""
    text = printed(options)
    assert text.startswith("usage: s6-tlsd ") and text.endswith("\n")
    for short, long in OPTIONS.items():
        assert re.search(rf"^\s+{short}\b,?\s+{long or ''}", text, re.M), short
    for long in LONG_ONLY:
        assert re.search(rf"^\s+{long}\b", text, re.M), long


def test_version():
    """--version prints one line with the name and the version."""
    assert re.fullmatch(r"s6-tlsd \d+\.\d+\.\d+\S*\n", printed(["--version"]))


def test_backend():
    """--backend prints one line with the TLS library and its version."""
    assert re.fullmatch(ABLE.version + "\n", printed(["--backend"]))

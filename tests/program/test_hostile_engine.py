"""An engine that someone has taken over: it never keeps the monitor, nor makes it deaf, nor leaves prog behind."""

import contextlib
import os
import signal
import subprocess

import pytest

import harness
from harness import (ABLE, BACKEND, LIMIT, PROGRAM, Tlsd, alive, fields, minimal_environment, one_line, program_name, status_of,
                     survivors, wait_for)

ROLES = ["server", "client"]

# Built with the tests, from tests/hostile/engine.c, which says what $HOSTILE may be.
FOLDER = os.path.join(os.path.dirname(PROGRAM), "tests")
pytestmark = pytest.mark.skipif(not os.path.exists(FOLDER), reason="the programs of the tests are not beside the program")

# The monitor gives an engine that should be gone 5 s, and one that it does not believe any more none.
SOON = LIMIT / 4


@contextlib.contextmanager
def hostile(pki, words, prog, options=()):
    """A program whose engine does as $HOSTILE says; in the end none of its processes may be left."""
    env = {"HOSTILE": words, "KEYFILE": pki.server.keyfile, "CERTFILE": pki.server.certfile}
    if harness.ROLE == "client":
        options = ["-y", *options]
    program = [os.path.join(FOLDER, program_name() + "-hostile")]
    with Tlsd(pki, prog, options, env=env, program=program, preexec=os.setsid) as tlsd:
        try:
            yield tlsd
            wait_for(lambda: not survivors(tlsd.pid), "engine and prog to be gone", SOON)
        finally:
            for pid in survivors(tlsd.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def received(tlsd):
    """What the engine has written to the network, whether it ended well or not."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := tlsd.sock.recv(1 << 16):
            data += chunk
    return data


MALFORMED = [
    "up up", "up fault", "ask", "up ask ask", "up flood",  # out of order
    "up-", "up+", "long", "up long", "up end-", "up end+", "up end-none", "fault+", "fault-wrong", "up ask+", "unknown",
    "run", "up-lie", "up unknown", "up run", "connected", "up connected",
]


@pytest.mark.parametrize("words", MALFORMED)
def test_malformed_message(pki, words):
    """A message out of its form or out of its order is the engine's end: 98, told once, and prog reads EOF."""
    with hostile(pki, words, ["cat"]) as tlsd:
        assert tlsd.wait(SOON) == 98
        assert "engine sent a malformed message" in one_line(tlsd.stderr())


PATIENT = [
    ("close", 98, "engine died (signal 9)"),
    ("up close", 98, "engine died (signal 9)"),
    ("up ask-", 98, "engine died (signal 9)"),  # an empty message looks like the channel's end
    ("end", 98, "engine ended before the handshake"),
    ("end up", 98, "engine ended before the handshake"),
    ("fault", 98, "the engine says so"),
    ("fault end", 98, "the engine says so"),
    ("up end", 5, ""),
    ("up end up", 98, "engine sent a malformed message"),
    ("up end end", 98, "engine sent a malformed message"),
    ("up end ask", 98, "engine sent a malformed message"),
]


def test_engine_that_should_be_gone(pki):
    """An engine that hung up, or told of its end, and lives on is killed 5 s later; the code is as if it had gone."""
    with contextlib.ExitStack() as stack:
        # All at once, for the sake of those 5 s.
        running = [stack.enter_context(hostile(pki, words, ["sh", "-c", "cat; exit 5"], ["--linger=0"]))
                   for words, _, _ in PATIENT]
        for tlsd, (words, code, told) in zip(running, PATIENT):
            assert tlsd.wait(SOON) == code, words
            assert told in one_line(tlsd.stderr()) if told else tlsd.stderr() == "", words


@pytest.mark.parametrize("words", ["", "close", "end", "fault", "up", "up close", "up end", "up unknown", "up flood"])
def test_signal_beside_a_hostile_engine(pki, words):
    """Whatever the engine does, SIGTERM reaches prog, and a second one does not wait for the engine."""
    with hostile(pki, words, ["sleep", "1000"], ["-v3"]) as tlsd:
        tlsd.sock.recv(4)  # it has done its worst, or is gone
        prog = 0
        if words.startswith("up"):
            lines = wait_for(lambda: [line for line in tlsd.stderr().splitlines() if "event=start" in line], "prog")
            prog = int(fields(lines[0])["prog"])
        tlsd.proc.terminate()
        wait_for(lambda: not int(status_of(tlsd.pid, "ShdPnd") or "0", 16), "the signal to be heard", SOON)
        wait_for(lambda: not prog or not alive(prog), "prog to be told", SOON)
        tlsd.proc.terminate()
        assert tlsd.wait(SOON) == -signal.SIGTERM


if ABLE.signs_elsewhere:
    @pytest.mark.parametrize("what", ["half", "huge", "garbage", "tiny", "text", "other role"])
    def test_request_for_a_signature_that_tls_does_not_need(pki, what, role):
        """Nothing but what TLS has this role sign is signed; the rest is the engine's end, 98, told once."""
        other = "client" if role == "server" else "server"
        with hostile(pki, f"sign-{other if what == 'other role' else what}", ["cat"]) as tlsd:
            assert tlsd.wait(SOON) == 98
            assert "engine asked for a signature that is refused: " in one_line(tlsd.stderr())
            assert b"signed" not in received(tlsd)

    def test_request_for_the_signature_of_a_hash(pki, role):
        """What is behind a hash nobody sees: it is signed for a client alone, whose library has nothing else to give."""
        with hostile(pki, "sign-hash end", ["cat"], ["--linger=0"]) as tlsd:
            assert tlsd.wait(SOON) == 98
            assert (b"signed" in received(tlsd)) == (role == "client" and BACKEND == "bearssl")

    def test_one_signature_and_no_more(pki, role):
        """The one request that a handshake needs is served, so that this test can see; every one after it is refused."""
        with hostile(pki, f"sign-{role} up end", ["cat"]) as tlsd:
            assert tlsd.wait(SOON) == 0
            assert received(tlsd) == b"signeddone"
        for words in f"sign-{role} sign-{role}", f"sign-often-{role}":
            with hostile(pki, words, ["cat"]) as tlsd:
                assert tlsd.wait(SOON) == 98
                assert "engine asked for a signature that is refused: there was one before" in one_line(tlsd.stderr())
                assert received(tlsd).count(b"signed") <= 1

    def test_no_signature_behind_the_handshake(pki, role):
        """When the engine has told of the handshake, the key is gone."""
        with hostile(pki, f"up sign-{role} end", ["cat"]) as tlsd:
            assert tlsd.wait(SOON) == 0
            assert received(tlsd) == b"done"

    @pytest.mark.parametrize("words", ["end", "fault", "close", "unknown"])
    def test_no_signature_behind_an_end(pki, words, role):
        """Nor when the connection can come to nothing any more, however the engine has said so."""
        with hostile(pki, f"{words} sign-{role}", ["cat"], ["--linger=0"]) as tlsd:
            assert tlsd.wait(SOON) == 98
            assert b"signed" not in received(tlsd)

    def test_no_signature_behind_a_signal(pki, role):
        """Nor for a connection that was told to end."""
        with hostile(pki, f"wait sign-{role}", ["cat"], ["--linger=0"]) as tlsd:
            tlsd.proc.terminate()
            assert tlsd.wait(SOON) == -signal.SIGTERM
            assert b"signed" not in received(tlsd)

    def test_an_empty_request_is_none(pki):
        """A packet without a byte is no hang-up."""
        with hostile(pki, "sign-empty", ["cat"]) as tlsd:
            assert tlsd.wait(SOON) == 98
            assert "engine asked for a signature that is refused: an empty request" in one_line(tlsd.stderr())

else:
    def test_nobody_to_ask(pki, role):
        """An engine that has the key is given no second way to it."""
        with hostile(pki, f"sign-{role} end", ["cat"]) as tlsd:
            assert tlsd.wait(SOON) == 98
            assert received(tlsd) == b"done"


# -- an engine that says where it has connected to -----------------------------

@pytest.mark.parametrize("words, code, told", [
    ("up", 98, "engine sent a malformed message"),
    ("ask", 98, "engine sent a malformed message"),
    ("connected connected", 98, "engine sent a malformed message"),
    ("connected-", 98, "engine sent a malformed message"),
    ("connected+", 98, "engine sent a malformed message"),
    ("connected-lie", 98, "engine sent a malformed message"),
    ("connected up connected", 98, "engine sent a malformed message"),
    ("end connected", 98, "engine ended before the handshake"),
    ("fault", 98, "the engine says so"),
])
@pytest.mark.server_only
def test_connection_that_is_none(pki, words, code, told):
    """The report of a connection is of its form, comes once, and before the handshake's."""
    program = os.path.join(FOLDER, "s6-tlsclient-hostile")
    proc = subprocess.Popen([program, "-H", "--linger=0", "192.0.2.1", "1", "cat"], start_new_session=True,
                            env=minimal_environment(CAFILE=pki.cafile, HOSTILE=words), stdin=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)
    try:
        _, text = proc.communicate(timeout=SOON)
        assert proc.returncode == code
        assert told in text and text.count("\n") == 1 and text.startswith("s6-tlsclient: fatal: ")
        wait_for(lambda: not survivors(proc.pid), "engine and prog to be gone", SOON)
    finally:
        for pid in survivors(proc.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        proc.wait()

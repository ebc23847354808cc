"""Connecting to a host: sys/dial.c and what is below it, by tests/dial.c, which prints what came of it."""

import contextlib
import os
import socket
import struct
import subprocess

import pytest

from apart import Dns, Void, apart, command, routed
from harness import LIMIT, PROGRAM

DIAL = os.path.join(os.path.dirname(PROGRAM), "tests", "dial")
# What may change how names are resolved.
ENV = {k: v for k, v in os.environ.items() if k not in ("LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES")}


def dialing(*words):
    return subprocess.Popen([DIAL, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENV)


def outcome(process):
    """What the process printed, a dict. It has ended, or does so now."""
    text, _ = process.communicate(timeout=LIMIT)
    found = dict(line.split("=", 1) for line in text.splitlines())
    assert found["opened"] == ("0" if "fault" in found else "1"), "descriptors"
    assert process.returncode == ("fault" in found)
    return found


def dial(*words):
    return outcome(dialing(*words))


def fault(*words):
    """The text of the fault that is the outcome, of the only code there is."""
    found = dial(*words)
    assert found.get("fault") == "111", found
    return found["text"]


def listen(ip, port=0, **kw):
    return socket.create_server((ip, port), family=socket.AF_INET6 if ":" in ip else socket.AF_INET, **kw)


def port_of(listener):
    return listener.getsockname()[1]


@contextlib.contextmanager
def unused_port(ip="127.0.0.1"):
    """A port that nobody listens on, nor will: it is bound."""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as s:
        s.bind((ip, 0))
        yield port_of(s)


def ends(found):
    """Both ends of the connection, as its variables tell: ours, theirs."""
    return ((found["TCPLOCALIP"], int(found["TCPLOCALPORT"])), (found["TCPREMOTEIP"], int(found["TCPREMOTEPORT"])))


# -- a connection ---------------------------------------------------------------

@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_connects(ip):
    """The variables are what the other end sees; the socket is as a program expects one; nothing else stays open."""
    with listen(ip) as listener:
        found = dial(ip, port_of(listener))
        peer, seen = listener.accept()
        peer.close()
        assert ends(found) == (seen[:2], (ip, port_of(listener)))
        assert (found["blocking"], found["cloexec"], found["nodelay"]) == ("1", "1", "0")
        assert "TCPLOCALHOST" not in found and "TCPREMOTEHOST" not in found


def test_nodelay():
    with listen("127.0.0.1") as listener:
        assert dial("-d", "127.0.0.1", port_of(listener))["nodelay"] == "1"


def test_mapped_address_is_told_as_ipv4():
    with listen("127.0.0.1") as listener:
        (local, _), remote = ends(dial("::ffff:127.0.0.1", port_of(listener)))
        assert (local, remote) == ("127.0.0.1", ("127.0.0.1", port_of(listener)))


def test_name():
    """-4, since a machine's own /etc/hosts may have two addresses for it."""
    with listen("127.0.0.1") as listener:
        assert ends(dial("-4", "localhost", port_of(listener)))[1] == ("127.0.0.1", port_of(listener))


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_refused(ip):
    with unused_port(ip) as port:
        assert fault(ip, port) == f"cannot connect to {ip} port {port}: {ip}: Connection refused"


def test_never_connects_to_itself():
    """From the very port that it connects to, TCP would let it."""
    with unused_port("127.0.0.4") as port:
        pass
    assert fault("-i", "127.0.0.4", "-p", port, "127.0.0.4", port).endswith(": 127.0.0.4: Connection refused")


# -- its own end -------------------------------------------------------------------

def test_local_address_and_port():
    with unused_port("127.0.0.3") as port:
        pass
    with listen("127.0.0.1") as listener:
        found = dial("-i", "127.0.0.3", "-p", port, "127.0.0.1", port_of(listener))
        peer, seen = listener.accept()
        peer.close()
        assert ends(found)[0] == seen == ("127.0.0.3", port)


def test_local_port_serves_again_at_once():
    """The connection from it that was ours to close lingers in TIME_WAIT, and another one begins."""
    with unused_port("127.0.0.6") as port:
        pass
    for _ in range(2):
        with listen("127.0.0.1") as listener:
            assert ends(dial("-i", "127.0.0.6", "-p", port, "127.0.0.1", port_of(listener)))[0] == ("127.0.0.6", port)
            listener.accept()[0].close()


@pytest.mark.parametrize("options, text", [
    (["-i", "192.0.2.1"], "address 192.0.2.1: Cannot assign requested address"),
    (["-i", "192.0.2.1", "-p", "1025"], "address 192.0.2.1 port 1025: Cannot assign requested address"),
    (["-i", "localhost"], "address localhost: Name or service not known"),
    (["-4", "-i", "::1"], "address ::1: Address family for hostname not supported"),
    (["-p", "no-such-service"], "port no-such-service: unknown service"),
    (["-i", "127.0.0.1", "-p", "65536"], "address 127.0.0.1 port 65536: unknown service"),
])
def test_local_end_that_cannot_be_had(options, text):
    assert fault(*options, "127.0.0.1", "1") == "cannot use local " + text


def test_local_port_that_is_taken():
    with listen("127.0.0.1") as other:
        assert fault("-p", port_of(other), "127.0.0.1", "1") == \
            f"cannot use local port {port_of(other)}: Address already in use"


def test_local_address_decides_the_family():
    assert fault("-i", "::1", "127.0.0.1", "1") == \
        "cannot resolve 127.0.0.1: Address family for hostname not supported"


@pytest.mark.parametrize("name, told", [
    ("Here.Example.ORG.", "here.example.org"), ("here", "here"), ("a b", None), ("", None), ("127.0.0.1", None),
    ("x" * 64, None), ("a..", None),
])
def test_own_name(name, told):
    with listen("127.0.0.1") as listener:
        assert dial("-l", name, "127.0.0.1", port_of(listener)).get("TCPLOCALHOST") == told


# -- what cannot be resolved -------------------------------------------------------------

@pytest.mark.parametrize("port", ["65536", "18446744073709551696", "", "-1", " 80", "80 ", "+80", "0x50", "no-such-service"])
def test_unknown_service(port):
    assert fault("127.0.0.1", port) == f"cannot resolve 127.0.0.1: unknown service {port}"


@pytest.mark.parametrize("family, ip", [("-4", "::1"), ("-6", "127.0.0.1")])
def test_other_family(family, ip):
    assert fault(family, ip, "1") == f"cannot resolve {ip}: Address family for hostname not supported"


@apart
def test_unknown_names(names):
    names()
    with Dns() as dns:
        for name in "nowhere.example", "", ".", "a..b", "1.2.3.4.5", "x" * 2000, "x" * 2000 + ".", "-", "a\nb":
            text = fault(name, "1")
            assert text.startswith(f"cannot resolve {name[:900]}".replace("\n", "?")) and "\n" not in text
        assert fault("nowhere.example", "1") == "cannot resolve nowhere.example: Name or service not known"
        assert dns.asked[0] == "nowhere.example"


@apart
def test_name_server_that_is_not_there(names):
    names()
    assert fault("www.example", "1") == "cannot resolve www.example: Temporary failure in name resolution"


# -- several addresses ----------------------------------------------------------------------

@apart
def test_each_address_is_tried(names):
    names("127.0.0.2 many\n127.0.0.3 many\n::1 many\n127.0.0.3 many\n")
    with unused_port("127.0.0.9") as port:
        with listen("127.0.0.3", port) as listener:
            found = dial("many", port)
            assert ends(found)[1] == ("127.0.0.3", port_of(listener))
            assert int(found["ms"]) < 500, "two refused, and the next did not start at once"
        with listen("::1", port):
            assert ends(dial("many", port))[1][0] == "::1"
        text = fault("many", port)
        start = f"cannot connect to many port {port}: "
        assert text.startswith(start)
        assert sorted(text[len(start):].split(", ")) == \
            [f"{ip}: Connection refused" for ip in ("127.0.0.2", "127.0.0.3", "::1")]
        assert fault("-6", "many", port) == f"cannot connect to many port {port}: ::1: Connection refused"
        assert "::1" not in fault("-4", "many", port)
        assert "::1" not in fault("-i", "127.0.0.1", "many", port)


@apart
def test_more_addresses_than_are_tried(names):
    """64 of them, IPv6 among them, and the line is cut."""
    names("".join(f"127.0.1.{i} crowd\n" for i in range(1, 101)) + "::1 crowd\n")
    text = fault("crowd", "1")
    assert text.startswith("cannot connect to crowd port 1: ") and text.endswith("...") and len(text) == 1023
    assert "::1: Connection refused" in text
    with listen("::1") as listener:
        assert ends(dial("crowd", port_of(listener)))[1][0] == "::1"


@apart
def test_services_by_name(names):
    names()
    with listen("127.0.0.1", 80):
        assert ends(dial("-p", "ftp", "127.0.0.1", "http")) == (("127.0.0.1", 21), ("127.0.0.1", 80))
    assert fault("127.0.0.1", "http") == "cannot connect to 127.0.0.1 port http: 127.0.0.1: Connection refused"


@apart
def test_machine_without_ipv6(names):
    """The kernel's, not the resolver's: the address is tried first, or not, and costs nothing."""
    names("2001:db8::2 both\n127.0.0.1 both\n")
    with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as f:
        f.write("1")
    with listen("127.0.0.1") as listener:
        assert ends(dial("both", port_of(listener)))[1] == ("127.0.0.1", port_of(listener))
    assert fault("-6", "both", "1") in [f"cannot connect to both port 1: 2001:db8::2: {reason}" for reason in (
        "Network is unreachable", "Cannot assign requested address")]


# -- addresses that do not answer -----------------------------------------------------------

@contextlib.contextmanager
def silent():
    """A port of 127.0.0.1 that does not answer: the queue of who listens there is full."""
    with listen("127.0.0.1", backlog=0) as listener, socket.create_connection(listener.getsockname()):
        yield port_of(listener)


def test_signals_do_no_harm():
    """Hundreds of them, while it waits."""
    with silent() as port:
        found = dial("-a", "-t", 1, "-T", 0, "127.0.0.1", port)
        assert found["text"] == f"cannot connect to 127.0.0.1 port {port}: 127.0.0.1: timed out"
        assert int(found["ms"]) >= 1000 and int(found["alarms"]) > 20


@apart
def test_signals_do_no_harm_to_the_resolver(names):
    names()
    with Dns({("www.example", "A"): "127.0.0.1"}) as dns, listen("127.0.0.1") as listener:
        for _ in range(20):
            assert ends(dial("-a", "-h", "www.example", port_of(listener)))[1][0] == "127.0.0.1"
        assert "1.0.0.127.in-addr.arpa" in dns.asked


@apart
def test_silent_ipv6_does_not_hold_up_ipv4(names):
    names("2001:db8::2 both\n127.0.0.1 both\n")
    with Void() as void, listen("127.0.0.1") as listener:
        process = dialing("both", port_of(listener))
        assert void.syn(process).to == "2001:db8::2"
        found = outcome(process)
        assert ends(found)[1] == ("127.0.0.1", port_of(listener))
        assert 250 <= int(found["ms"]) < 1000


@apart
def test_silence_ends(names):
    """Two addresses, a second and then two each: 0 and 250, 1250 and 1500, until 3500 ms."""
    names("2001:db8::2 both\n192.0.2.2 both\n")
    with Void() as void:
        process = dialing("-t", 1, "-T", 2, "both", "7")
        attempts = void.attempts(process)
        found = outcome(process)
    assert found["text"] == "cannot connect to both port 7: 2001:db8::2: timed out, 192.0.2.2: timed out"
    assert 3500 <= int(found["ms"]) < 5000
    assert [a.to for a in attempts] == 2 * ["2001:db8::2", "192.0.2.2"]
    starts = [a.at - attempts[0].at for a in attempts]
    for start, wanted in zip(starts, [0, 0.25, 1.25, 1.5]):
        assert wanted - 0.1 < start < wanted + 1, starts


@apart
def test_second_round_that_is_answered():
    """Nothing answers the first attempt, however often it asks."""
    with Void() as void:
        process = dialing("-t", 1, "-T", 30, "192.0.2.2", "7")
        first = second = void.syn(process)
        while second.port == first.port:
            second = void.syn(process)
        void.answer(second)
        found = outcome(process)
    assert ends(found) == (("192.0.2.1", second.port), ("192.0.2.2", 7))
    assert 1000 <= int(found["ms"]) < 5000


@apart
def test_refused_and_silent_ones_are_told_apart(names):
    """Only the silent one has a second round; 127.0.0.1 is tried once, as a capture of loopback shows."""
    names("192.0.2.2 both\n127.0.0.1 both\n")
    with Void() as void, socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as loopback:
        loopback.bind(("lo", 0x0800))
        process = dialing("-t", 1, "-T", 1, "both", "7")
        attempts = void.attempts(process)
        found = outcome(process)
        refused = set()
        loopback.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = loopback.recv(65536)
                ports = struct.unpack_from("!HH", packet, 20)
                if packet[9] == socket.IPPROTO_TCP and ports[1] == 7:
                    refused.add(ports)
    assert sorted(found["text"].split(": ", 1)[1].split(", ")) == ["127.0.0.1: Connection refused", "192.0.2.2: timed out"]
    assert len(attempts) == 2 and len(refused) == 1


# -- names ------------------------------------------------------------------------------------

@apart
@pytest.mark.parametrize("options, host, asked", [
    ([], "db", ["db"]), (["-q"], "db", ["db.example", "db"]), (["-q"], "db.", ["db"]), ([], "db.", ["db"]),
    ([], "a.b", ["a.b"]), (["-q"], "a.b", ["a.b", "a.b.example"]),
])
def test_search_domains(names, options, host, asked):
    """Without -q, or with a dot at the end, a name is a whole one."""
    names(search="example")
    with Dns() as dns:
        assert fault(*options, host, "1") == f"cannot resolve {host}: Name or service not known"
        assert dns.asked == asked


@apart
def test_search_domain_that_helps(names):
    names(search="example")
    with Dns({("db.example", "A"): "127.0.0.1"}) as dns, listen("127.0.0.1") as listener:
        assert ends(dial("-q", "db", port_of(listener)))[1][0] == "127.0.0.1"
        assert dns.asked == ["db.example"]
        assert fault("db", port_of(listener)) == "cannot resolve db: Name or service not known"


@apart
@pytest.mark.parametrize("options", [[], ["-q"]])
def test_hosts_are_found(names, options):
    """In /etc/hosts, with a dot at the end and without, and nobody is asked."""
    names("127.0.0.1 localhost db db.example\n", search="example")
    with Dns() as dns, listen("127.0.0.1") as listener:
        for host in "localhost", "localhost.", "db", "db.", "db.example", "DB.example.":
            assert ends(dial(*options, host, port_of(listener)))[1][0] == "127.0.0.1"
        assert dns.asked == []


@apart
@pytest.mark.parametrize("ours, theirs", [
    (("Here.Example.ORG", "here.example.org"), ("There", "there")), ((None, None), ("a..b", None)),
    (("x" * 64, None), ("_a.example", "_a.example")),
])
def test_reverse_names(names, ours, theirs):
    """-h: those that are valid names, in lower case; without it none is asked for."""
    names("".join(f"{ip} {name}\n" for ip, (name, _) in (("127.0.0.5", ours), ("::1", theirs), ("127.0.0.1", theirs))
                  if name))
    with Dns() as dns, listen("127.0.0.1") as listener:
        words = ["-i", "127.0.0.5", "127.0.0.1", port_of(listener)]
        found = dial("-h", *words)
        assert (found.get("TCPLOCALHOST"), found.get("TCPREMOTEHOST")) == (ours[1], theirs[1])
        found = dial("-h", "-l", "me", *words)
        assert (found.get("TCPLOCALHOST"), found.get("TCPREMOTEHOST")) == ("me", theirs[1])
        del dns.asked[:]
        found = dial(*words)
        assert "TCPLOCALHOST" not in found and "TCPREMOTEHOST" not in found and dns.asked == []


@apart
def test_reverse_names_by_dns(names):
    names()
    with Dns({("1.0.0.127.in-addr.arpa", "PTR"): "Www.Example"}), listen("127.0.0.1") as listener:
        for host in "127.0.0.1", "::ffff:127.0.0.1":
            found = dial("-h", host, port_of(listener))
            assert found["TCPLOCALHOST"] == found["TCPREMOTEHOST"] == "www.example"


@apart
def test_zone():
    """An address that needs one is told without."""
    with Void():
        command("ip", "addr", "add", "fe80::1/64", "dev", "void", "nodad")
        routed("fe80::1")
        index = socket.if_nametoindex("void")
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("fe80::1", 0, 0, index))
            listener.listen()
            found = dial("-i", "fe80::1%void", "fe80::1%void", port_of(listener))
            assert (found["TCPLOCALIP"], found["TCPREMOTEIP"]) == ("fe80::1", "fe80::1")

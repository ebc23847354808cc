"""A wire that is cut, reset, frozen or wrong by a bit, or that splits, holds or joins what passes: at any byte.

With S6_TLSD_LONG in the environment that is each byte of a session. Without it: the first, second and last of each
record, its length, its first behind the header, and one in so many of the rest.
"""

import itertools

import pytest

from attack import HEADER, Attack, Place, Wires, answerer_for, context_for, outline, served
from harness import ABLE, VERSIONS
from server import LONG, Server, many

ROLES = ["server", "client"]
PARTS = many(8, 1)
STRIDE = many(1, 401)

# What is done to the wire, and in which direction. What does no harm is done in both at once.
DONE = [("cut", "up"), ("cut", "down"), ("reset", "up"), ("reset", "down"), ("flip", "up"), ("flip", "down"),
        ("freeze", "up"), ("split", "up"), ("stall", "up"), ("merge", "up")]


def places(records, stride=STRIDE):
    """Those in a direction with such records, its end not among them."""
    found = []
    for record, (_, length) in enumerate(records):
        chosen = {0, 1, 3, 4, HEADER, length - 1, *range(record % stride, length, stride)}
        found += [Place(record, offset) for offset in sorted(chosen)]
    return found


def attacks(outline, kind, way):
    """All of that kind, with each place among them at least once."""
    records = getattr(outline, way)
    end = Place(len(records), 0)
    below = itertools.cycle([*places(outline.down), Place(len(outline.down), 0)])
    for n, place in enumerate([*places(records), *([end] if kind not in ("flip", "freeze") else [])]):
        last = way == "down" and place >= (len(records) - 1, 0)  # there is only with -S
        options = {"notify": bool(n & 1) or last, "enforce": bool(n & 2)}
        if kind == "flip":
            bits = range(8) if LONG and place.offset < HEADER else [n % 8]
            yield from (Attack(kind, way, place, bit=bit, **options) for bit in bits)
        elif kind == "cut" and place.offset == 0:
            for notify, enforce in itertools.product([last] if last else [False, True], [False, True]):
                yield Attack(kind, way, place, notify=notify, enforce=enforce)
        elif kind in ("split", "stall", "merge"):
            options["enforce"] &= ABLE.replies_after_close_notify or kind != "merge"
            yield Attack(kind, way, place, next(below), **options)
        else:
            yield Attack(kind, way, place, **options)


def hold(session, outline, chosen):
    """Runs a session under each attack, and judges it. Returns the number of byte positions, once for each kind."""
    chosen = list(chosen)
    for attack in chosen:
        conversation = attack
        try:
            conversation = session(attack)
            conversation.judge(outline)
        except BaseException:
            print("under attack:", conversation)
            raise
    return len({(attack.kind, attack.way, attack.place) for attack in chosen})


OUTLINES = {}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind, way", DONE)
def test_wire(pki, role, version, kind, way, part, record_property):
    """No byte is wrong, no answer is taken for whole that is not, the exit code is right, and no process is left."""
    with Wires(pki, version) as wires:
        if (role, version) not in OUTLINES:
            OUTLINES[role, version] = outline(wires.session)
        plan = OUTLINES[role, version]
        chosen = list(attacks(plan, kind, way))[part::PARTS]
        record_property("byte positions of the wire attacked", hold(wires.session, plan, chosen))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_small_segments(pki, version, size):
    """Everything that the peer sends comes in so many bytes at a time."""
    with Wires(pki, version) as wires:
        hold(wires.session, None, [Attack("shred", bit=size, notify=notify) for notify in (False, True)])


@pytest.mark.parametrize("kind", ["cut", "reset", "flip"])
def test_wire_behind_progs_end(pki, version, kind, record_property):
    """Once prog has exited and the wire has its last byte, nothing that is done to the peer's answer counts."""
    with Wires(pki, version) as wires:
        plan = outline(wires.session)
        last = len(plan.up) - 1
        chosen = [Attack(kind, "up", place, leaves=True, notify=bool(n & 1), enforce=bool(n & 2))
                  for n, place in enumerate(places(plan.up, many(1, 11))) if place.record == last and place.offset > 0]
        record_property("byte positions of the wire attacked", hold(wires.session, plan, chosen))


SERVED = [("cut", "up"), ("cut", "down"), ("reset", "up"), ("flip", "up"), ("flip", "down"), ("freeze", "up"),
          ("split", "up"), ("merge", "up")]


@pytest.mark.server_only
@pytest.mark.parametrize("kind, way", SERVED)
def test_wire_of_a_server(pki, tmp_path, version, kind, way, record_property):
    """Likewise with s6-tlsserver, which goes on, and of which nothing is left but itself."""
    context = context_for(pki, version)

    def session(attack):
        return served(server, tmp_path, attack, context)

    with Server(pki, answerer_for(tmp_path), Attack(kind, notify=True).options()) as server:
        server.pass_over("")
        plan = outline(session)
        chosen = [attack._replace(notify=True, enforce=False)
                  for attack in list(attacks(plan, kind, way))[::many(3, 5)]]
        count = hold(session, plan, dict.fromkeys(chosen))
        session(Attack("nothing", notify=True)).judge(plan)
        server.at_rest()
        server.stop()
        record_property("byte positions of the wire attacked", count)

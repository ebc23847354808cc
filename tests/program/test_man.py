"""The man page tells of each backend what it lacks, and of none what it does not."""

import dataclasses
import os
import re

from abilities import ABILITIES, WORDS
from harness import ABLE, BACKEND, ROOT


def told_of(backend):
    with open(os.path.join(ROOT, "man", "s6-tlsd.8")) as page:
        section = page.read().split(".Sh BACKENDS\n")[1].split("\n.Sh ")[0]
    return re.split(r"^\.It ", section.split(f".It {backend}\n")[1], flags=re.MULTILINE)[0].replace("\n", " ")


def test_the_man_page_has_the_list_of_what_this_backend_lacks():
    abilities = {f.name: getattr(ABLE, f.name) for f in dataclasses.fields(ABLE) if f.name != "version"}
    assert abilities.keys() == WORDS.keys()
    assert {name: WORDS[name] not in told_of(BACKEND) for name in WORDS} == abilities


def test_the_man_page_names_every_backend():
    for backend in ABILITIES:
        assert told_of(backend)

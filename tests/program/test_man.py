"""The man page of s6-tlsd tells of each backend what it lacks, and of none what it does not; the others refer to it."""

import dataclasses
import os
import re

from abilities import ABILITIES, WORDS
from harness import ABLE, BACKEND, ROOT


def backends(page):
    with open(os.path.join(ROOT, "man", page)) as text:
        return text.read().split(".Sh BACKENDS\n")[1].split("\n.Sh ")[0]


def told_of(backend):
    section = backends("s6-tlsd.8")
    return re.split(r"^\.It ", section.split(f".It {backend}\n")[1], flags=re.MULTILINE)[0].replace("\n", " ")


def test_the_man_page_has_the_list_of_what_this_backend_lacks():
    abilities = {f.name: getattr(ABLE, f.name) for f in dataclasses.fields(ABLE) if f.name != "version"}
    assert abilities.keys() == WORDS.keys()
    assert {name: WORDS[name] not in told_of(BACKEND) for name in WORDS} == abilities


def test_the_man_page_names_every_backend():
    for backend in ABILITIES:
        assert told_of(backend)


def test_there_is_one_such_list():
    for page in "s6-tlsc.1", "s6-tlsclient.1", "s6-tlsserver.8":
        section = backends(page)
        assert ".Xr s6-tlsd 8" in section and ".It " not in section

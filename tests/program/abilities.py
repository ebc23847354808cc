"""The one list of what backends cannot do, as tests/unit/abilities.h is for the engines alone.

A test takes from here what to expect of the backend it runs on. What is missing is asserted to be
missing cleanly: nothing is skipped for it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Abilities:
    version: str  # what --backend says, a regular expression
    tls13: bool = True  # else a client that insists on it is refused
    ed25519: bool = True  # keys and certificates; else a key is 96, and no client is asked for such a certificate
    signs_elsewhere: bool = True  # in the monitor; else the engine has the key as long as it lives
    name_constraints: bool = True  # are judged; else a chain that has any is refused
    late_alerts: bool = True  # a failure behind the handshake is told to the peer; else an answer that is cut is reset
    replies_after_close_notify: bool = True  # else the peer's is answered at once, and prog's stdout is closed


ABILITIES = {
    "openssl": Abilities(version=r"openssl: OpenSSL 3\.\d+\.\d+\b.*"),
    "libtls": Abilities(version=r"libtls: libtls \d+\.\d+\.\d+\b.*; the engine holds the private key",
                        signs_elsewhere=False),
    "bearssl": Abilities(version=r"bearssl: BearSSL \d+\.\d+", tls13=False, ed25519=False, name_constraints=False,
                         late_alerts=False, replies_after_close_notify=False),
}

# How the man page names each ability where it tells that a backend lacks it.
WORDS = {
    "tls13": "No TLS 1.3",
    "ed25519": "No Ed25519",
    "signs_elsewhere": "holds the private key",
    "name_constraints": "name constraints is refused",
    "late_alerts": "No alert after the handshake",
    "replies_after_close_notify": "No output after the peer's close_notify",
}

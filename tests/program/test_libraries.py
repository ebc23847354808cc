"""Which libraries the program maps, by its backend, and what the build says when the one it needs is not there."""

import os
import re
import shutil
import subprocess

import pytest

from harness import BACKEND, LIMIT, PROGRAM, ROOT

MAPPED = {
    "openssl": {"libssl", "libcrypto"},
    "bearssl": {"libbearssl"},
    "libtls": {"libtls", "libssl", "libcrypto"},
}
# What every program has: the C library, its loader, and the kernel's page.
SYSTEM = r"libc|ld|ld-linux.*|ld64|linux-vdso\d*|linux-gate"
# What a sanitizer brings, itself and what it rests on.
SANITIZERS = r"lib(asan|ubsan|lsan|tsan|clang_rt\..*|stdc\+\+|gcc_s|m|dl|rt|pthread|resolv)"

# The package that each backend's library comes from on Debian, and how the sources and the linker name the library.
LIBRARIES = {
    "openssl": ("libssl-dev", "openssl/", "-lssl|-lcrypto"),
    "bearssl": ("libbearssl-dev", "bearssl[.]h", "-lbearssl"),
    "libtls": ("libtls-dev", "tls[.]h", "-ltls"),
}

# A compiler for which a library does not exist: neither its headers nor the file to link.
COMPILER = """#!/bin/sh
for word; do
    case $word in
    {linked}) exit 1 ;;
    *.c) grep -q '{included}' "$word" && exit 1 ;;
    esac
done
exec cc "$@"
"""


def test_mapped_libraries():
    """The program maps its own backend's libraries, no other's, and nothing besides but what every program has."""
    done = subprocess.run(["ldd", PROGRAM], stdout=subprocess.PIPE, text=True, timeout=LIMIT, check=True)
    found = {os.path.basename(line.split()[0]).partition(".so")[0] for line in done.stdout.splitlines()}
    expected = SYSTEM + ("|" + SANITIZERS if "S6_TLSD_SANITIZED" in os.environ else "")
    assert {name for name in found if not re.fullmatch(expected, name)} == MAPPED[BACKEND], done.stdout


@pytest.mark.skipif(not shutil.which("meson"), reason="meson is not installed")
@pytest.mark.parametrize("backend", LIBRARIES)
def test_library_is_not_there(tmp_path, backend):
    """The build ends with one error, which names the option and the package to install."""
    package, included, linked = LIBRARIES[backend]
    compiler, nothing = tmp_path / "cc", tmp_path / "nothing"
    compiler.write_text(COMPILER.format(included=included, linked=linked))
    compiler.chmod(0o755)
    nothing.mkdir()
    env = os.environ | {"CC": str(compiler), "PKG_CONFIG_LIBDIR": str(nothing), "CMAKE": str(nothing / "cmake")}
    env.pop("PKG_CONFIG_PATH", None)
    done = subprocess.run(["meson", "setup", "-Dtests=false", f"-Dtls={backend}", tmp_path / "build", ROOT], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
    assert done.returncode == 1, done.stdout
    errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
    assert len(errors) == 1, done.stdout
    message = rf"meson\.build:\d+:\d+: ERROR: .*-Dtls={backend} needs .+ \(on Debian: {package}\)"
    assert re.fullmatch(message, errors[0]), errors[0]

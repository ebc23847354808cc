import signal

import pytest

pytest.register_assert_rewrite("harness", "apart", "attack", "memcheck", "server")

import harness  # noqa: E402
from apart import names  # noqa: E402, F401 (a fixture)
from harness import ENDS, Blob, Pki, VERSIONS  # noqa: E402

# What is ignored here is ignored by all that is started: as under nohup, or by a shell in the background.
for number in signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM:
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def blob(tmp_path_factory):
    """50 MB that do not repeat, in a file."""
    return Blob(tmp_path_factory.mktemp("blob") / "blob", 50_000_000)


@pytest.fixture(params=VERSIONS)
def version(request):
    """TLS 1.2 and, where there is any, TLS 1.3, one after the other."""
    return request.param


@pytest.fixture(params=ENDS)
def close(request):
    """The two ways of sending prog's EOF, -s and -S; ENDS says what the client sees."""
    return request.param


def pytest_configure(config):
    config.addinivalue_line("markers", "server_only: not for the client, in a module for both")
    config.addinivalue_line("markers", "both_roles: for the client too, in a module that is not")


def pytest_terminal_summary(terminalreporter):
    """What tests counted, by record_property with a number, added up over all that passed."""
    figures = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            figures[name] = figures.get(name, 0) + value
    for name, value in figures.items():
        terminalreporter.write_line(f"{value:,} {name}")


def pytest_generate_tests(metafunc):
    """A module with ROLES is run with the program in each of them, and so is a test that is marked so."""
    both = metafunc.definition.get_closest_marker("both_roles") and ["server", "client"]
    roles = both or getattr(metafunc.module, "ROLES", None)
    if roles and not metafunc.definition.get_closest_marker("server_only"):
        metafunc.parametrize("role", roles, indirect=True)


@pytest.fixture(autouse=True)
def role(request):
    """The program's role: "server" unless the test's module has ROLES."""
    harness.ROLE = getattr(request, "param", "server")
    yield harness.ROLE
    harness.ROLE = "server"

import pytest

pytest.register_assert_rewrite("harness")

from harness import ENDS, Blob, Pki, VERSIONS  # noqa: E402


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

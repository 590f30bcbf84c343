"""Certificates and connections for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import tls
from tests.authority import Authority, Files
from tests.ssl.links import ADAPTERS, prepared
from tests.ssl.pair import Pair


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The authority that has made all of them."""
    return tls.authority()


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Files:
    """For ``localhost`` and 127.0.0.1."""
    return authority.issue("localhost", "localhost", "127.0.0.1")


@pytest.fixture(scope="session")
def other_certificate(authority: Authority) -> Files:
    """For ``other.example`` and the names under ``wild.example``."""
    return authority.issue("other", "other.example", "*.wild.example")


@pytest.fixture(params=ADAPTERS)
def pair(request: pytest.FixtureRequest, certificate: Files) -> Iterator[Pair]:
    """A connection after its handshake, by each adapter."""
    made = Pair(prepared(request.param(certificate.both)))
    yield made
    made.close()

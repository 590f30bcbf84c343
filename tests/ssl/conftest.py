"""Certificates for the tests of this folder, made once."""

from __future__ import annotations

import pytest

from tests.authority import Authority, Files


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that has made all of them."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Files:
    """For ``localhost`` and 127.0.0.1."""
    return authority.issue("localhost", "localhost", "127.0.0.1")


@pytest.fixture(scope="session")
def other_certificate(authority: Authority) -> Files:
    """For ``other.example`` and the names under ``wild.example``."""
    return authority.issue("other", "other.example", "*.wild.example")

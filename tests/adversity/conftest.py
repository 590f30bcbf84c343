"""Hundreds of connections, with both ends in this process, need more descriptors than some systems give by default."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

_WANTED = 4096


@pytest.fixture(autouse=True, scope="session")
def _many_descriptors() -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _WANTED:
        yield
        return
    most = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

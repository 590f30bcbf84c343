"""Mixed requests from many clients at once on a server with several leads: see :mod:`tests.apps.http.stress`.

``RESERVE_TEST_STRESS`` has the number of requests; by default there are few enough for a second or two.
"""

from __future__ import annotations

import os

import pytest

from tests.apps.http.stress import stress

REQUESTS = int(os.environ.get("RESERVE_TEST_STRESS", "1500"))


@pytest.mark.parametrize("leads", [1, 4])
def test_every_octet_of_mixed_requests_is_right(leads: int) -> None:
    load = stress(REQUESTS, leads)
    assert load.problems == []
    assert load.verified >= REQUESTS
    assert load.servers >= 3, "one of them with TLS, and each was stopped while requests came"

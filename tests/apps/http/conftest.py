"""What the tests of HTTP share."""

from __future__ import annotations

import pytest

from reserve.apps.http import straightforms
from reserve.protocol.http1.host import CACHED_HOSTS

FORMS = [
    "Python",
    pytest.param(
        "C", marks=pytest.mark.skipif(not straightforms.is_compiled(), reason="the form in C is not compiled")
    ),
]
"""Of the straight line: every test of it runs for each of them."""


@pytest.fixture(params=FORMS)
def straight_line_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each form of the straight line in turn; servers that start during the test have it.

    The Host of the tests' requests has been seen before: the first request with it declines the line in C.
    """
    CACHED_HOSTS.add("test")
    form: str = request.param
    monkeypatch.setattr(straightforms, "form", lambda: form)
    return form

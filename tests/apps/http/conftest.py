"""What the tests of HTTP share."""

from __future__ import annotations

import pytest

from reserve.apps.http import straightforms
from tests.apps.http.straightclient import FORMS


@pytest.fixture(params=FORMS)
def straight_line_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each form of the straight line in turn; servers that start during the test have it."""
    form: str = request.param
    monkeypatch.setattr(straightforms, "form", lambda: form)
    return form

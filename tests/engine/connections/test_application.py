"""The defaults of an application: those of a protocol without the features of HTTP."""

from __future__ import annotations

from typing import Any, cast

import pytest

from reserve.engine.connections.application import Application
from reserve.errors import UsageError


def test_an_application_has_to_make_its_drivers() -> None:
    with pytest.raises(NotImplementedError):
        Application().make_driver(cast(Any, None))


def test_an_application_offers_no_feature_of_http_by_default() -> None:
    application = Application()
    assert (application.url_scheme, application.alpn_protocols) == ("", ())
    assert application.redirect_application(443) is None
    assert application.refuse_plain(b"GET /") is None
    application.start(cast(Any, None))
    application.finish(cast(Any, None))


def test_options_that_were_not_given_are_accepted_and_others_refused() -> None:
    application = Application()
    application.configure({"root_path": ""})
    with pytest.raises(UsageError, match=r"^--root-path is for HTTP applications \(reserve app http\)"):
        application.configure({"root_path": "/x"}, ["--root-path", "--body-rate"])

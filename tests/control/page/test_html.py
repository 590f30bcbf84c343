"""The status page as HTML: complete without its script, and nothing that a client sends becomes HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

from reserve.control.page.html import headers, page
from reserve.control.page.view import make_view, unknown_view
from tests.control.page.documents import document, process, thread

HOSTILE = "GET /</td><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;${x}$style"


class Page(HTMLParser):
    """The elements of a page, and the texts of its cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return [name for name, _ in self.elements].count(tag)


def shown(**changes: Any) -> str:
    return page(make_view(document(process(**changes)))).decode()


def test_the_page_has_every_number_without_its_script() -> None:
    workers = (thread(0, state="stuck", request="GET /slow", client="192.0.2.1:5", seconds=62.0),)
    text = shown(workers=workers, healthy=False, unhealthy=("1 thread is stuck",))
    found = Page(text).texts
    for wanted in ("Not healthy", "1 thread is stuck", "GET /slow", "stuck", "1\u00a0min 2\u00a0s", "buffer memory"):
        assert wanted in found, wanted
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in text
    assert "$" not in re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)


def test_what_a_client_sends_stays_text() -> None:
    harmless = Page(shown(workers=(thread(0, state="running", request="GET /", client="x", seconds=1.0),)))
    workers = (thread(0, state="running", request=HOSTILE, client=HOSTILE, seconds=1.0),)
    hostile = Page(shown(workers=workers, unhealthy=(HOSTILE,), healthy=False))
    assert hostile.count("script") == harmless.count("script") == 1
    assert hostile.count("img") == 0
    assert hostile.count("td") == harmless.count("td")
    assert HOSTILE in hostile.texts


def test_a_page_without_a_process_has_only_its_reason() -> None:
    assert '<main id="main">' in shown()
    assert '<main id="main" hidden>' in page(unknown_view(0.0, "no server listens there")).decode()


def test_the_policy_allows_exactly_the_style_and_the_script_of_the_page() -> None:
    text = shown()
    policy = dict(headers("text/html"))["Content-Security-Policy"]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<[^>]* (style|on[a-z]+)=", text)


def test_nothing_of_the_page_comes_from_elsewhere() -> None:
    for tag, attributes in Page(shown()).elements:
        for name in ("src", "href", "action"):
            value = attributes.get(name) or ""
            assert not value or value.startswith("data:") or value == "?json", (tag, value)


def test_the_fields_keep_the_page_to_its_reader() -> None:
    fields = dict(headers("application/json"))
    assert fields["Cache-Control"] == "no-store"
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert fields["X-Frame-Options"] == "DENY"
    assert fields["Referrer-Policy"] == "no-referrer"
    assert fields["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in fields


def test_every_table_has_roles_and_a_name() -> None:
    elements = Page(shown()).elements
    tables = [attributes for tag, attributes in elements if tag == "table"]
    assert len(tables) == 4
    ids = {attributes.get("id") for _, attributes in elements}
    for attributes in tables:
        assert attributes["role"] == "table"
        assert attributes["aria-labelledby"] in ids
        assert (attributes.get("aria-describedby") or attributes["aria-labelledby"]) in ids
    assert all(attributes.get("role") for tag, attributes in elements if tag in ("tr", "td", "th"))

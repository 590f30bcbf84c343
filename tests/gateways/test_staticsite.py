"""A folder as a site: variants, Cache-Control, a listing, a page for what is missing, and which requests it gets."""

from __future__ import annotations

import gzip
import html.parser
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from reserve.gateways.folder import Folder
from reserve.gateways.static import FileBody
from reserve.gateways.staticsite import ALREADY_MISSING, IMMUTABLE, MOST_LISTED, StaticMounts, StaticSite, is_hashed

SCRIPT = b"console.log(1);\n" * 100
CODED = gzip.compress(SCRIPT, mtime=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "sub").mkdir(parents=True)
    (folder / "app.js").write_bytes(SCRIPT)
    (folder / "sub" / "page.html").write_text("<p>page")
    (folder / ".env").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    for path in folder.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return folder


def add_variant(folder: Path, suffix: str = ".gz", content: bytes = CODED, age: float = 0) -> None:
    path = folder / f"app.js{suffix}"
    path.write_bytes(content)
    os.utime(path, ns=(0, 1_700_000_000_000_000_000 - int(age * 1e9)))


class Got:
    """A response: its status, its fields by name in lower case, and its body."""

    def __init__(self, site: StaticSite, path: str, method: str = "GET", **fields: str) -> None:
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "REQUEST_URI": path}
        environ.update({f"HTTP_{name.upper()}": value for name, value in fields.items()})
        response = site.respond(environ)
        self.status = response.status
        self.fields = {name.lower(): value for name, value in response.headers}
        assert len(self.fields) == len(response.headers)
        body = response.body
        self.body = b"".join(body) if isinstance(body, FileBody) else body
        response.close()


def site(folder: Path, **options: bool) -> StaticSite:
    """With a clock that is far enough from the time at which the test wrote its files."""
    return StaticSite(Folder(folder), clock=lambda: time.time() + 10, **options)


def test_a_variant_that_the_client_accepts_is_sent_with_a_tag_of_its_own(folder: Path) -> None:
    add_variant(folder)
    plain, coded = Got(site(folder), "/app.js"), Got(site(folder), "/app.js", accept_encoding="br, gzip")
    assert (plain.status, plain.body, coded.status, coded.body) == (200, SCRIPT, 200, CODED)
    assert "content-encoding" not in plain.fields
    assert coded.fields["content-encoding"] == "gzip"
    assert plain.fields["vary"] == coded.fields["vary"] == "Accept-Encoding"
    assert plain.fields["content-type"] == coded.fields["content-type"] == "text/javascript; charset=utf-8"
    assert plain.fields["etag"] != coded.fields["etag"]
    assert coded.fields["etag"].endswith('-gzip"')
    again = Got(site(folder), "/app.js", accept_encoding="gzip", if_none_match=coded.fields["etag"])
    assert (again.status, again.fields["vary"], "content-encoding" in again.fields) == (304, "Accept-Encoding", False)
    other = Got(site(folder), "/app.js", accept_encoding="gzip", if_none_match=plain.fields["etag"])
    assert other.status == 200


def test_tags_differ_even_if_a_variant_has_the_size_and_the_time_of_its_file(folder: Path) -> None:
    add_variant(folder, content=SCRIPT)
    tags = {Got(site(folder), "/app.js", accept_encoding=value).fields["etag"] for value in ("", "gzip")}
    assert len(tags) == 2


def test_a_range_is_one_of_the_coded_representation(folder: Path) -> None:
    add_variant(folder)
    part = Got(site(folder), "/app.js", accept_encoding="gzip", range="bytes=2-5")
    coded = CODED
    assert (part.status, part.body) == (206, coded[2:6])
    assert part.fields["content-range"] == f"bytes 2-5/{len(coded)}"
    assert part.fields["content-encoding"] == "gzip"


def test_without_a_variant_nothing_varies(folder: Path) -> None:
    assert "vary" not in Got(site(folder), "/app.js", accept_encoding="gzip").fields


@pytest.mark.parametrize("suffix", [".br", ".zst", ".gz"])
def test_each_suffix_has_its_coding(folder: Path, suffix: str) -> None:
    add_variant(folder, suffix, b"coded")
    coding = {".br": "br", ".zst": "zstd", ".gz": "gzip"}[suffix]
    got = Got(site(folder), "/app.js", accept_encoding=f"identity;q=0.5, {coding}")
    assert (got.body, got.fields["content-encoding"]) == (b"coded", coding)
    itself = Got(site(folder), f"/app.js{suffix}", accept_encoding=coding)
    assert (itself.body, "content-encoding" in itself.fields) == (b"coded", False)


def test_a_variant_that_is_older_than_the_file_is_not_used(folder: Path) -> None:
    add_variant(folder, age=1)
    got = Got(site(folder), "/app.js", accept_encoding="gzip")
    assert (got.body, "vary" in got.fields, "content-encoding" in got.fields) == (SCRIPT, False, False)


def test_a_variant_whose_time_was_copied_without_its_fraction_is_used(folder: Path) -> None:
    add_variant(folder)
    for fraction, copied in ((999_999_999, 0), (123_456_789, 123_456_000), (5, 5)):
        os.utime(folder / "app.js", ns=(0, 1_700_000_000_000_000_000 + fraction))
        os.utime(folder / "app.js.gz", ns=(0, 1_700_000_000_000_000_000 + copied))
        assert "content-encoding" in Got(site(folder), "/app.js", accept_encoding="gzip").fields
    os.utime(folder / "app.js.gz", ns=(0, 1_700_000_000_000_000_004))
    assert "content-encoding" not in Got(site(folder), "/app.js", accept_encoding="gzip").fields


def test_a_client_that_accepts_nothing_that_there_is_gets_a_406(folder: Path) -> None:
    got = Got(site(folder), "/app.js", accept_encoding="identity;q=0, br")
    assert (got.status, got.fields["vary"]) == (406, "Accept-Encoding")
    add_variant(folder, ".br", b"coded")
    assert Got(site(folder), "/app.js", accept_encoding="identity;q=0, br").body == b"coded"


def test_a_variant_alone_is_not_the_file(folder: Path) -> None:
    add_variant(folder)
    (folder / "app.js").unlink()
    assert Got(site(folder), "/app.js", accept_encoding="gzip").status == 404


def test_a_variant_that_leads_out_of_the_folder_or_is_no_file_is_not_used(folder: Path) -> None:
    (folder / "app.js.gz").symlink_to("../secret")
    (folder / "app.js.br").mkdir()
    os.mkfifo(folder / "app.js.zst")
    got = Got(site(folder), "/app.js", accept_encoding="gzip, br, zstd")
    assert (got.body, "content-encoding" in got.fields) == (SCRIPT, False)


@pytest.mark.parametrize(
    ("name", "hashed"),
    [
        ("app.3f2a9c1b.js", True),
        ("app-3f2a9c1b.css", True),
        ("3f2a9c1b.js", True),
        ("app.3f2a9c1b.js.map", True),
        ("a.b-c.0123456789abcdef0123456789abcdef.woff2", True),
        ("app.3f2a9c1.js", False),  # seven digits
        ("app.3F2A9C1B.js", False),
        ("app.20240131.js", False),
        ("app.deadbeef.js", False),
        ("app3f2a9c1b.js", False),
        ("app.3f2a9c1b", False),
        ("app-3f2a9c1b-final.js", False),
        ("app.3f2a9c1b.a.b.c", False),
        ("550e8400-e29b-41d4-a716-44665544000a.png", False),
        ("index-B1x2Y3z4.js", False),  # a hash, which no rule tells from what follows
        ("convert-Md5ToHex.js", False),
        ("guide-Chapter1.js", False),
        ("app.js", False),
        ("app." + "a1" * 33 + ".js", False),
    ],
)
def test_the_rule_for_hashed_names(folder: Path, name: str, hashed: bool) -> None:
    assert is_hashed(name) == hashed
    (folder / name).write_text("x")
    assert Got(site(folder), f"/{name}").fields["cache-control"] == (IMMUTABLE if hashed else "no-cache")
    assert "cache-control" not in Got(site(folder, immutable=False), f"/{name}").fields


def test_an_index_is_sent_for_its_folder_and_has_variants(folder: Path) -> None:
    (folder / "sub" / "index.html").write_text("index")
    (folder / "sub" / "index.html.gz").write_bytes(b"coded")
    assert Got(site(folder), "/sub/").body == b"index"
    assert Got(site(folder), "/sub/", accept_encoding="gzip").body == b"coded"
    got = Got(site(folder), "/sub")
    assert (got.status, got.fields["location"]) == (302, "/sub/")


def test_a_page_of_the_site_is_sent_for_what_is_missing(folder: Path) -> None:
    assert (Got(site(folder), "/no").status, Got(site(folder), "/no").body) == (404, b"404 Not Found\n")
    (folder / "404.html").write_text("<p>nothing")
    for path in ("/no", "/.env", "/../secret", "/sub/"):
        got = Got(site(folder), path, range="bytes=0-1", if_none_match="*")
        assert (got.status, got.body, got.fields["content-type"]) == (404, b"<p>nothing", "text/html; charset=utf-8")
    head = Got(site(folder), "/no", "HEAD")
    assert (head.status, head.body, head.fields["content-length"]) == (404, b"", "10")


@pytest.mark.parametrize("listing", [False, True])
def test_methods(folder: Path, listing: bool) -> None:
    one = site(folder, listing=listing)
    for path in ("/app.js", *["/sub/"] * listing):
        options = Got(one, path, "OPTIONS")
        assert (options.status, options.fields, options.body) == (204, {"allow": "GET, HEAD, OPTIONS"}, b"")
        for method in ("POST", "PUT", "DELETE", "TRACE", "get"):
            refused = Got(one, path, method)
            assert (refused.status, refused.fields["allow"]) == (405, "GET, HEAD, OPTIONS")
        head, get = Got(one, path, "HEAD"), Got(one, path)
        assert (head.status, head.fields, head.body) == (200, get.fields, b"")
    assert Got(one, "/no", "OPTIONS").status == 404


def test_there_is_a_listing_only_if_it_is_asked_for(folder: Path) -> None:
    assert Got(site(folder), "/sub/").status == 404
    got = Got(site(folder, listing=True), "/sub/")
    assert got.status == 200
    assert b'<a href="./page.html">page.html</a>' in got.body
    assert Got(site(folder, listing=True), "/sub").fields["location"] == "/sub/"
    (folder / "sub" / "index.html").write_text("index")
    assert Got(site(folder, listing=True), "/sub/").body == b"index"


class Links(html.parser.HTMLParser):
    """The links of a page and their texts."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self._href = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._href = str(dict(attributes).get("href") or "")

    def handle_data(self, data: str) -> None:
        if self._href:
            self.links.append((self._href, data))
            self._href = ""


def test_a_listing_is_harmless_whatever_the_names_are(folder: Path) -> None:
    names = [
        b"<script>alert(1)<",
        b'"onclick="x',
        b"javascript:alert(1)",
        b"a&amp;b",
        b"\xff\xfe",
        "\u00e9 \u20ac".encode(),
        b"?x#y",
        b"%41",
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(folder / "sub") + b"/" + name)).write_text("x")
    (folder / "sub" / "link").symlink_to("../../secret")
    (folder / "sub" / ".hidden").write_text("x")
    got = Got(site(folder, listing=True), "/sub/")
    page = Links(got.body)
    assert page.tags == {"html", "head", "meta", "title", "body", "h1", "ul", "li", "a"}
    assert page.links[0] == ("../", "../")
    assert {unquote_to_bytes(href).removeprefix(b"./") for href, _ in page.links[1:]} == {*names, b"page.html"}
    assert all(href.startswith("./") for href, _ in page.links[1:])
    assert got.fields["content-security-policy"].startswith("default-src 'none'")
    assert got.fields["x-content-type-options"] == "nosniff"


def test_a_listing_of_very_many_files_is_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.gateways.staticsite.MOST_LISTED", 3)
    assert MOST_LISTED > 3
    for number in range(8):
        (folder / "sub" / f"{number}").write_text("x")
    body = Got(site(folder, listing=True), "/sub/").body
    assert len(re.findall(b'href="./', body)) == 3
    assert b"and 6 more" in body


# ---- which requests a site gets ----


def asked(mounts: StaticMounts, path: str, script: str = "") -> tuple[str, str] | None:
    found = mounts.find({"PATH_INFO": path, "SCRIPT_NAME": script})
    return None if found is None else (found.script_name, found.path_info)


def test_the_longest_prefix_wins_on_segment_boundaries(folder: Path) -> None:
    one = site(folder)
    mounts = StaticMounts({"/assets": one, "/assets/app/files": one}, ["", "/assets/app"])
    assert asked(mounts, "/assets") == ("/assets", "")
    assert asked(mounts, "/assets/x") == ("/assets", "/x")
    assert asked(mounts, "/assets/app/files/x") == ("/assets/app/files", "/x")
    for path in ("/", "/x", "/assetsx", "/assets/app", "/assets/app/x", "*", "", "//assets/x"):
        assert asked(mounts, path) is None
    root = StaticMounts({"": one}, ["", "/api"])
    assert (asked(root, "/x"), asked(root, "/api/x"), asked(root, "*")) == (("", "/x"), None, None)


def test_a_root_path_is_removed_as_for_applications(folder: Path) -> None:
    mounts = StaticMounts({"/assets": site(folder)}, [""], "/shop")
    assert asked(mounts, "/shop/assets/x") == ("/shop/assets", "/x")
    assert asked(mounts, "/assets/x") == ("/shop/assets", "/x")  # a frontend has removed it
    assert asked(mounts, "/assets/x", "/shop") == ("/shop/assets", "/x")  # a web server has told it
    assert asked(mounts, "/shop/x") is None


def respond_with_path(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]


@pytest.mark.parametrize("passes_on", [False, True])
def test_before_an_application(folder: Path, passes_on: bool) -> None:
    mounts = StaticMounts({"/assets": site(folder, passes_on=passes_on)}, [""])
    app = mounts.before(respond_with_path)

    def get(path: str, **more: object) -> tuple[str, bytes]:
        status = []
        environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": "", **more}
        body: Any = app(environ, lambda line, fields: status.append(line))
        try:
            return status[0], b"".join(body)
        finally:
            getattr(body, "close", lambda: None)()

    assert get("/x") == ("200 OK", b"|/x")
    assert get("/assets/app.js") == ("200 OK", SCRIPT)
    assert get("/assets/no")[0] == ("200 OK" if passes_on else "404 Not Found")
    assert get("/assets/no")[1] == (b"|/assets/no" if passes_on else b"404 Not Found\n")
    assert get("/assets/app.js", **{ALREADY_MISSING: True}) == ("200 OK", b"|/assets/app.js")


def test_it_is_a_valid_application(folder: Path) -> None:
    add_variant(folder)
    app: Any = validator(site(folder, listing=True))
    for path in ("/app.js", "/", "/no", "/sub"):
        for coding in ("", "gzip"):
            environ: dict[str, Any] = {
                "PATH_INFO": path,
                "SCRIPT_NAME": "",
                "QUERY_STRING": "",
                "HTTP_ACCEPT_ENCODING": coding,
            }
            setup_testing_defaults(environ)
            body = app(environ, lambda status, fields, exc_info=None: lambda data: None)
            b"".join(body)
            body.close()

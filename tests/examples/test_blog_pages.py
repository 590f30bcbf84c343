"""Reading every address of the blog: its pages, its files and their fields for caching."""

from __future__ import annotations

import io
import re
import threading
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from wsgiref.util import FileWrapper

import pytest

PAGES = ["/", "/?page=2", "/write", "/stream", "/about", "/post/hello-from-a-worker-thread"]
VOID = {"meta", "link", "input", "img", "br"}


class LinkParser(HTMLParser):
    """Collects the links of a page and checks that every tag is closed in the right order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def links(page: str) -> list[str]:
    parser = LinkParser()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.links


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_well_formed_html_with_its_headers(blog, address):
    response = blog.get(address)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert links(response.text)


@pytest.mark.parametrize("mount", ["", "/blog", "/b\xc3\xa9/x"])
def test_every_link_leads_to_a_page_under_any_mount_point(blog, mount):
    root = {"": "", "/blog": "/blog", "/b\xc3\xa9/x": "/b%C3%A9/x"}[mount]
    seen: set[str] = set()
    unread = [f"{root}/"]
    while unread:
        address = unread.pop().partition("#")[0]
        if address in seen or not address:
            continue
        seen.add(address)
        assert address.startswith(f"{root}/"), address
        if address.endswith("/comments"):
            continue
        response = blog.get(address[len(root) :], SCRIPT_NAME=mount)
        assert response.status == 200, address
        if response.headers["Content-Type"].startswith("text/html"):
            unread += links(response.text)
    assert len(seen) > 12


def test_no_mount_point_leads_to_links_to_another_host(blog):
    assert all(
        re.match("/[^/]", link) for link in links(blog.get("/", SCRIPT_NAME="//evil.example").text) if link[0] != "#"
    )


def test_the_mount_point_without_a_slash_is_the_list_of_posts(blog):
    assert "Hello from a worker thread" in blog.get("", SCRIPT_NAME="/blog").text


def test_the_list_has_pages(blog):
    first, second = blog.get("/").text, blog.get("/?page=2").text
    assert first.count("<article") == 4
    assert second.count("<article") == 2
    assert 'href="/?page=2"' in first
    assert 'href="/?page=1"' in second


@pytest.mark.parametrize("number", ["0", "3", "-1", "x", "1e9", "9" * 5000, "%D9%A1", "+1"])
def test_a_page_number_that_does_not_exist_is_404(blog, number):
    assert blog.get(f"/?page={number}").status == 404


@pytest.mark.parametrize(
    "address",
    [
        "/nothing",
        "/post",
        "/post/",
        "/post/none",
        "/post/a/b/c",
        "/picture/",
        "/picture/../blog.sqlite3",
        "//",
        "/\xff",
    ],
)
def test_an_unknown_address_is_404_with_an_error_page(blog, address):
    response = blog.get(address)
    assert response.status == 404
    assert "Back to the posts" in response.text


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("POST", "/", "GET, HEAD"),
        ("PUT", "/write", "GET, HEAD, POST"),
        ("DELETE", "/post/hello-from-a-worker-thread", "GET, HEAD"),
        ("GET", "/post/hello-from-a-worker-thread/comments", "POST"),
        ("POST", "/stream", "GET, HEAD"),
        ("POST", "/feed.xml", "GET, HEAD"),
        ("POST", "/about", "GET, HEAD"),
        ("POST", "/style.css", "GET, HEAD"),
        ("POST", "/logo.svg", "GET, HEAD"),
        ("POST", "/picture/x", "GET, HEAD"),
    ],
)
def test_another_method_is_405_and_names_the_allowed_methods(blog, method, address, allowed):
    response = blog.request(method, address)
    assert response.status == 405
    assert response.headers["Allow"] == allowed


@pytest.mark.parametrize("address", [*PAGES, "/style.css", "/feed.xml", "/nothing"])
def test_head_gives_the_fields_of_get_without_a_body(blog, address):
    get, head = blog.get(address), blog.request("HEAD", address)
    assert head.pieces == []
    assert head.status == get.status
    assert head.headers == get.headers


@pytest.mark.parametrize(
    ("address", "media_type"),
    [
        ("/style.css", "text/css; charset=utf-8"),
        ("/logo.svg", "image/svg+xml"),
        ("/feed.xml", "application/atom+xml; charset=utf-8"),
    ],
)
def test_a_file_is_not_sent_again_to_a_client_that_has_it(blog, address, media_type):
    response = blog.get(address)
    etag, modified = response.headers["ETag"], response.headers["Last-Modified"]
    assert response.headers["Content-Type"] == media_type
    assert int(response.headers["Content-Length"]) == len(response.body) > 100
    for tags in (etag, f'"other", W/{etag}', "*"):
        unchanged = blog.get(address, HTTP_IF_NONE_MATCH=tags)
        assert (unchanged.status, unchanged.body) == (304, b"")
        assert unchanged.headers["ETag"] == etag
    assert blog.get(address, HTTP_IF_MODIFIED_SINCE=modified).status == 304
    assert blog.get(address, HTTP_IF_NONE_MATCH='"other"', HTTP_IF_MODIFIED_SINCE=modified).status == 200
    for date in ("Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "", "Thu, 01 Jan 99999 00:00:00 GMT"):
        assert blog.get(address, HTTP_IF_MODIFIED_SINCE=date).status == 200


def picture_address(blog) -> str:
    (address,) = re.findall(r'src="(/picture/[^"]+)"', blog.get("/").text)
    return address


def test_a_picture_has_its_type_and_may_be_cached_for_ever(blog):
    response = blog.get(picture_address(blog))
    assert response.body.startswith(b"\x89PNG")
    assert response.headers["Content-Type"] == "image/png"
    assert int(response.headers["Content-Length"]) == len(response.body)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in response.headers["Cache-Control"]
    unchanged = blog.get(picture_address(blog), HTTP_IF_NONE_MATCH=response.headers["ETag"])
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert blog.request("HEAD", picture_address(blog)).headers == response.headers


def test_a_picture_is_sent_with_the_file_wrapper_of_the_server(blog):
    wrapped: list[object] = []

    def wrapper(file, size):
        wrapped.append(file)
        return FileWrapper(file, size)

    response = blog.get(picture_address(blog), **{"wsgi.file_wrapper": wrapper})
    assert len(response.body) == int(response.headers["Content-Length"])
    (file,) = wrapped
    assert isinstance(file, io.BufferedReader)
    assert file.closed


def test_the_archive_yields_each_post_separately(blog):
    response = blog.get("/stream")
    assert "Content-Length" not in response.headers
    assert [piece.count(b"<article") for piece in response.pieces] == [0, 1, 1, 1, 1, 1, 1, 0]
    assert b"</html>" in response.pieces[-1]


def test_the_archive_has_every_post_once_when_it_needs_several_queries(blog):
    for number in range(45):
        assert blog.post("/write", {"title": f"Number {number}", "text": "x"}).status == 303
    titles = re.findall(r'<h2><a href="/post/([^"]+)"', blog.get("/stream").text)
    assert titles[:45] == [f"number-{number}" for number in range(44, -1, -1)]
    assert len(titles) == 51


def test_the_feed_is_atom_and_names_absolute_addresses(blog):
    blog.post("/write", {"title": "<b> & co\x00", "text": "x]]>\x0b\uffff<i>"})
    response = blog.get("/feed.xml", SCRIPT_NAME="/blog", HTTP_HOST="blog.example:8080")
    feed = ElementTree.fromstring(response.body)
    name = "{http://www.w3.org/2005/Atom}"
    entries = feed.findall(f"{name}entry")
    assert len(entries) == 7
    assert entries[0].findtext(f"{name}title") == "<b> & co"
    assert entries[0].findtext(f"{name}content") == "<p>x]]&gt;&lt;i&gt;</p>"
    assert [link.get("href") for link in entries[0].findall(f"{name}link")] == [
        "http://blog.example:8080/blog/post/b-co"
    ]
    assert len({entry.findtext(f"{name}id") for entry in entries} | {feed.findtext(f"{name}id")}) == 8


def test_about_shows_this_request_and_its_thread(blog):
    pages: list[str] = []

    def get() -> None:
        pages.append(
            blog.get("/about", REMOTE_ADDR="192.0.2.7", REMOTE_PORT="4711", SERVER_PROTOCOL="HTTP/1.1",
                     HTTP_USER_AGENT="<script>x</script>").text
        )  # fmt: skip

    thread = threading.Thread(target=get, name="worker <7>")
    thread.start()
    thread.join()
    (page,) = pages
    for text in ("192.0.2.7, port 4711", "HTTP/1.1", "worker &lt;7&gt;", "&lt;script&gt;x&lt;/script&gt;"):
        assert text in page
    assert "<script" not in page

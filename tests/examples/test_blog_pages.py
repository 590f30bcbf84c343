"""Every address of the blog, read: its pages, its files and what they say about caching."""

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


class Balance(HTMLParser):
    """Every tag is closed in its order; collects the links."""

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
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.links


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_well_formed_html_with_its_headers(blog, address):
    answer = blog.get(address)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert links(answer.text)


@pytest.mark.parametrize("mount", ["", "/blog", "/b\xc3\xa9/x"])
def test_every_link_leads_to_a_page_under_any_mount_point(blog, mount):
    root = {"": "", "/blog": "/blog", "/b\xc3\xa9/x": "/b%C3%A9/x"}[mount]
    seen: set[str] = set()
    waiting = [f"{root}/"]
    while waiting:
        address = waiting.pop().partition("#")[0]
        if address in seen or not address:
            continue
        seen.add(address)
        assert address.startswith(f"{root}/"), address
        if address.endswith("/comments"):
            continue
        answer = blog.get(address[len(root) :], SCRIPT_NAME=mount)
        assert answer.status == 200, address
        if answer.headers["Content-Type"].startswith("text/html"):
            waiting += links(answer.text)
    assert len(seen) > 12


def test_a_mount_point_cannot_make_links_to_another_host(blog):
    assert all(
        re.match("/[^/]", link) for link in links(blog.get("/", SCRIPT_NAME="//evil.example").text) if link[0] != "#"
    )


def test_the_mount_point_itself_is_the_list_of_posts(blog):
    assert "Hello from a worker thread" in blog.get("", SCRIPT_NAME="/blog").text


def test_the_list_has_pages(blog):
    first, second = blog.get("/").text, blog.get("/?page=2").text
    assert first.count("<article") == 4
    assert second.count("<article") == 2
    assert 'href="/?page=2"' in first
    assert 'href="/?page=1"' in second


@pytest.mark.parametrize("number", ["0", "3", "-1", "x", "1e9", "9" * 5000, "%D9%A1", "+1"])
def test_a_page_that_is_not_there_is_404(blog, number):
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
def test_an_unknown_address_is_404_with_a_page(blog, address):
    answer = blog.get(address)
    assert answer.status == 404
    assert "Back to the posts" in answer.text


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
def test_another_method_is_405_and_says_what_is_allowed(blog, method, address, allowed):
    answer = blog.request(method, address)
    assert answer.status == 405
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("address", [*PAGES, "/style.css", "/feed.xml", "/nothing"])
def test_head_gives_the_fields_of_get_without_a_body(blog, address):
    got, head = blog.get(address), blog.request("HEAD", address)
    assert head.pieces == []
    assert head.status == got.status
    assert head.headers == got.headers


@pytest.mark.parametrize(
    ("address", "media_type"),
    [
        ("/style.css", "text/css; charset=utf-8"),
        ("/logo.svg", "image/svg+xml"),
        ("/feed.xml", "application/atom+xml; charset=utf-8"),
    ],
)
def test_a_file_is_not_sent_again_to_who_has_it(blog, address, media_type):
    answer = blog.get(address)
    etag, modified = answer.headers["ETag"], answer.headers["Last-Modified"]
    assert answer.headers["Content-Type"] == media_type
    assert int(answer.headers["Content-Length"]) == len(answer.body) > 100
    for tags in (etag, f'"other", W/{etag}', "*"):
        again = blog.get(address, HTTP_IF_NONE_MATCH=tags)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == etag
    assert blog.get(address, HTTP_IF_MODIFIED_SINCE=modified).status == 304
    assert blog.get(address, HTTP_IF_NONE_MATCH='"other"', HTTP_IF_MODIFIED_SINCE=modified).status == 200
    for date in ("Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "", "Thu, 01 Jan 99999 00:00:00 GMT"):
        assert blog.get(address, HTTP_IF_MODIFIED_SINCE=date).status == 200


def picture_address(blog) -> str:
    (address,) = re.findall(r'src="(/picture/[^"]+)"', blog.get("/").text)
    return address


def test_a_picture_is_served_with_its_type_and_for_ever(blog):
    answer = blog.get(picture_address(blog))
    assert answer.body.startswith(b"\x89PNG")
    assert answer.headers["Content-Type"] == "image/png"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in answer.headers["Cache-Control"]
    again = blog.get(picture_address(blog), HTTP_IF_NONE_MATCH=answer.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert blog.request("HEAD", picture_address(blog)).headers == answer.headers


def test_a_picture_goes_through_the_servers_file_wrapper(blog):
    wrapped: list[object] = []

    def wrapper(file, size):
        wrapped.append(file)
        return FileWrapper(file, size)

    answer = blog.get(picture_address(blog), **{"wsgi.file_wrapper": wrapper})
    assert len(answer.body) == int(answer.headers["Content-Length"])
    (file,) = wrapped
    assert isinstance(file, io.BufferedReader)
    assert file.closed


def test_the_archive_streams_each_post_by_itself(blog):
    answer = blog.get("/stream")
    assert "Content-Length" not in answer.headers
    assert [piece.count(b"<article") for piece in answer.pieces] == [0, 1, 1, 1, 1, 1, 1, 0]
    assert b"</html>" in answer.pieces[-1]


def test_the_archive_has_every_post_once_when_there_are_more_than_one_query_reads(blog):
    for number in range(45):
        assert blog.post("/write", {"title": f"Number {number}", "text": "x"}).status == 303
    titles = re.findall(r'<h2><a href="/post/([^"]+)"', blog.get("/stream").text)
    assert titles[:45] == [f"number-{number}" for number in range(44, -1, -1)]
    assert len(titles) == 51


def test_the_feed_is_atom_and_names_absolute_addresses(blog):
    blog.post("/write", {"title": "<b> & co\x00", "text": "x]]>\x0b\uffff<i>"})
    answer = blog.get("/feed.xml", SCRIPT_NAME="/blog", HTTP_HOST="blog.example:8080")
    feed = ElementTree.fromstring(answer.body)
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

    def ask() -> None:
        pages.append(
            blog.get("/about", REMOTE_ADDR="192.0.2.7", REMOTE_PORT="4711", SERVER_PROTOCOL="HTTP/1.1",
                     HTTP_USER_AGENT="<script>x</script>").text
        )  # fmt: skip

    thread = threading.Thread(target=ask, name="worker <7>")
    thread.start()
    thread.join()
    (page,) = pages
    for shown in ("192.0.2.7, port 4711", "HTTP/1.1", "worker &lt;7&gt;", "&lt;script&gt;x&lt;/script&gt;"):
        assert shown in page
    assert "<script" not in page

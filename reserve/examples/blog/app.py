"""The blog's WSGI callable: it selects the page for an address and does the work of that page.

Many threads call it at the same time. A :class:`Blog` has no attribute that changes; the state of a request is in local
variables.

=========================  ==========================================================
``/``, ``/?page=N``        the posts, newest first
``/post/SLUG``             one post with its comments
``/post/SLUG/comments``    POST: a comment (``author``, ``text``)
``/write``                 the form; POST: a post (``title``, ``author``, ``text``, ``picture``)
``/picture/NAME``          an uploaded picture
``/stream``                every post on one page, sent one by one
``/feed.xml``              the newest posts as an Atom feed
``/about``                 facts about this request and the server
=========================  ==========================================================
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from wsgiref.util import FileWrapper, application_uri

from reserve.examples.blog import pages
from reserve.examples.blog.feed import atom_feed
from reserve.examples.blog.forms import check_same_origin, read_form
from reserve.examples.blog.pictures import MEDIA_TYPES
from reserve.examples.blog.style import LOGO, STYLE
from reserve.examples.blog.web import Refusal, Request, Response, http_date, is_not_modified

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from reserve.examples.blog.pictures import Pictures
    from reserve.examples.blog.store import Post, Store

__all__ = ["Blog"]

POSTS_PER_PAGE = 4
POSTS_IN_FEED = 20
POSTS_PER_QUERY = 20
"""How many posts the streamed page reads at once. No database connection is open while it waits for its client."""

MAX_PICTURE = 5 * 1024 * 1024
MAX_POST = MAX_PICTURE + 256 * 1024
"""The most bytes of a body with a post: its picture, and its texts with room for their encoding."""

MAX_COMMENT = 64 * 1024
"""The most bytes of a body with a comment."""

MAX_CHARACTERS = {"title": 200, "author": 60, "text": 20_000, "comment": 4_000}

HTML_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("X-Content-Type-Options", "nosniff"),
    # With "no-referrer" browsers would send "Origin: null" with the blog's own forms.
    ("Referrer-Policy", "same-origin"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'",
    ),
]


class Blog:
    """The application: ``blog(environ, start_response)`` as in PEP 3333.

    :param store: the posts and comments.
    :param pictures: the uploaded pictures.
    """

    def __init__(self, store: Store, pictures: Pictures) -> None:
        self.store = store
        self.pictures = pictures
        self.started = time.time()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Respond to one request."""
        request = Request(environ)
        try:
            response = self._response(request)
        except Refusal as refusal:
            page = pages.refusal(request, refusal.status, refusal.message)
            response = _html(page, status=refusal.status, headers=refusal.headers)
        start_response(response.status_line, response.headers)
        # A HEAD gets the fields of a GET and no body (RFC 9110 section 9.3.2); no method below leaves a file open for
        # it.
        return () if request.method == "HEAD" else response.body

    def _response(self, request: Request) -> Response:
        fixed = {
            "/": self._home,
            "/write": self._write,
            "/stream": self._stream,
            "/feed.xml": self._feed,
            "/about": self._about,
            "/style.css": self._style,
            "/logo.svg": self._logo,
        }
        if request.path in fixed:
            return fixed[request.path](request)
        match request.path.split("/")[1:]:
            case ["post", slug]:
                return self._post(request, slug)
            case ["post", slug, "comments"]:
                return self._comment(request, slug)
            case ["picture", name]:
                return self._picture(request, name)
        raise Refusal(404, "There is no page at this address.")

    def _home(self, request: Request) -> Response:
        _allow(request, "GET", "HEAD")
        page = parse_qs(request.environ.get("QUERY_STRING", "")).get("page", ["1"])[0]
        count = self.store.count()
        last = max(1, -(-count // POSTS_PER_PAGE))
        if not (page.isascii() and page.isdigit() and len(page) < 10 and 1 <= int(page) <= last):
            raise Refusal(404, f"There is no such page; the last page is {last}.")
        number = int(page)
        posts = self.store.newest(POSTS_PER_PAGE, skip=(number - 1) * POSTS_PER_PAGE)
        return _html(pages.home(request, posts, number, last))

    def _post(self, request: Request, slug: str) -> Response:
        _allow(request, "GET", "HEAD")
        post = self._existing(slug)
        return _html(pages.post(request, post, self.store.comments(post)))

    def _comment(self, request: Request, slug: str) -> Response:
        _allow(request, "POST")
        check_same_origin(request.environ)
        post = self._existing(slug)
        form = read_form(request.environ, MAX_COMMENT)
        author, text = form.text("author") or "Anonymous", form.text("text")
        problems = _too_long(("author", "Your name", author), ("comment", "The comment", text))
        if not text:
            problems.append("A comment needs some text.")
        if problems:
            page = pages.post(request, post, self.store.comments(post), form.texts, problems)
            return _html(page, status=400)
        comment = self.store.add_comment(post, author=author, text=text)
        return _see_other(f"{request.root}/post/{post.slug}#comment-{comment}")

    def _write(self, request: Request) -> Response:
        _allow(request, "GET", "HEAD", "POST")
        if request.method != "POST":
            return _html(pages.write(request))
        check_same_origin(request.environ)
        form = read_form(request.environ, MAX_POST)
        title, text = " ".join(form.text("title").split()), form.text("text")
        author = form.text("author") or "Anonymous"
        problems = _too_long(("title", "The title", title), ("author", "Your name", author), ("text", "The text", text))
        if not title:
            problems.append("A post needs a title.")
        if not text:
            problems.append("A post needs some text.")
        content = form.files.get("picture", b"")
        if len(content) > MAX_PICTURE:
            raise Refusal(413, f"The picture is too large: the blog accepts at most {MAX_PICTURE:,} bytes.")
        picture = None
        if content and not problems:
            try:
                picture = self.pictures.add(content)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            return _html(pages.write(request, form.texts, problems), status=400)
        slug = self.store.add_post(title=title, author=author, text=text, picture=picture)
        return _see_other(f"{request.root}/post/{slug}")

    def _picture(self, request: Request, name: str) -> Response:
        _allow(request, "GET", "HEAD")
        file = self.pictures.open(name)
        if file is None:
            raise Refusal(404, "There is no picture at this address.")
        try:
            info = os.fstat(file.fileno())
            headers = [
                ("Cache-Control", "public, max-age=31536000, immutable"),
                ("X-Content-Type-Options", "nosniff"),
                ("Content-Security-Policy", "default-src 'none'; sandbox"),
            ]
            response = _conditional(
                request, f'"{name}"', info.st_mtime, MEDIA_TYPES[name.rpartition(".")[2]], info.st_size, headers
            )
        except BaseException:
            file.close()
            raise
        if response.status == 304 or request.method == "HEAD":
            file.close()
        else:
            # The server's own wrapper may let the kernel send the file; the one of wsgiref reads it in pieces.
            response.body = request.environ.get("wsgi.file_wrapper", FileWrapper)(file, 65536)
        return response

    def _stream(self, request: Request) -> Response:
        _allow(request, "GET", "HEAD")
        # There is no Content-Length, so the server sends each piece as soon as it gets it.
        return Response(headers=list(HTML_HEADERS), body=self._archive(request) if request.method == "GET" else ())

    def _archive(self, request: Request) -> Iterator[bytes]:
        yield pages.stream_head(request).encode()
        number = 0
        posts = self.store.before(None, POSTS_PER_QUERY)
        while posts:
            for post in posts:
                number += 1
                yield pages.stream_piece(request, post, number).encode()
            posts = self.store.before(posts[-1].id, POSTS_PER_QUERY)
        yield pages.stream_end(request, number).encode()

    def _feed(self, request: Request) -> Response:
        _allow(request, "GET", "HEAD")
        posts = self.store.newest(POSTS_IN_FEED)
        base = application_uri(request.environ).rstrip("/")
        document = atom_feed(base, self.store.uid, posts)
        updated = posts[0].created if posts else self.started
        return _static(request, document, "application/atom+xml; charset=utf-8", updated)

    def _about(self, request: Request) -> Response:
        _allow(request, "GET", "HEAD")
        return _html(pages.about(request, self.store.count()))

    def _style(self, request: Request) -> Response:
        _allow(request, "GET", "HEAD")
        return _static(request, STYLE.encode(), "text/css; charset=utf-8", self.started)

    def _logo(self, request: Request) -> Response:
        _allow(request, "GET", "HEAD")
        return _static(request, LOGO.encode(), "image/svg+xml", self.started)

    def _existing(self, slug: str) -> Post:
        post = self.store.post(slug)
        if post is None:
            raise Refusal(404, "There is no post at this address.")
        return post


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        allowed = ", ".join(methods)
        raise Refusal(405, f"This address accepts {allowed}, but not {request.method[:20]}.", ("Allow", allowed))


def _too_long(*fields: tuple[str, str, str]) -> list[str]:
    return [
        f"{label} may have {MAX_CHARACTERS[limit]:,} characters; this text has {len(text):,}."
        for limit, label, text in fields
        if len(text) > MAX_CHARACTERS[limit]
    ]


def _html(page: str, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    body = page.encode()
    fields = [*HTML_HEADERS, ("Cache-Control", "no-cache"), ("Content-Length", str(len(body))), *headers]
    return Response(status=status, headers=fields, body=(body,))


def _see_other(address: str) -> Response:
    # With a 303 after a form, the browser shows a page that can be reloaded without sending the form again.
    headers = [("Location", address), ("Content-Type", "text/plain"), ("Content-Length", "0")]
    return Response(status=303, headers=headers)


def _static(request: Request, body: bytes, media_type: str, modified: float) -> Response:
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = [("Cache-Control", "no-cache"), ("X-Content-Type-Options", "nosniff")]
    response = _conditional(request, etag, modified, media_type, len(body), headers)
    if response.status == 200:
        response.body = (body,)
    return response


def _conditional(
    request: Request, etag: str, modified: float, media_type: str, length: int, headers: list[tuple[str, str]]
) -> Response:
    fields = [("ETag", etag), ("Last-Modified", http_date(modified)), *headers]
    if is_not_modified(request.environ, etag=etag, modified=modified):
        return Response(status=304, headers=fields)
    return Response(headers=[("Content-Type", media_type), ("Content-Length", str(length)), *fields])

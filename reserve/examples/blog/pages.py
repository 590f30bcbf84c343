"""Write the blog's pages as HTML text.

The worker thread of the request calls these functions, and each page shows the name of that thread. Every text that a
client sent goes through ``escape``.
"""

from __future__ import annotations

import platform
import re
import threading
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from reserve.examples.blog.style import LOGO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reserve.examples.blog.store import Comment, Post
    from reserve.examples.blog.web import Request

__all__ = ["about", "home", "paragraphs", "post", "refusal", "stream_end", "stream_head", "stream_piece", "write"]

# strftime would use names of the locale of the server's process.
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
LINKS = (("/", "Posts"), ("/stream", "Archive"), ("/write", "Write"), ("/about", "About"))
EXCERPT = 260
HEADINGS = {
    400: "Bad request",
    403: "Form of another site",
    404: "Page not found",
    405: "Method not allowed",
    411: "Length required",
    413: "Too large",
    415: "Not a form",
}


def paragraphs(text: str) -> str:
    """Return plain text as HTML: an empty line ends a paragraph, and a line end becomes a line break."""
    blocks = re.split(r"\n[ \t]*\n", text)
    return "\n".join(f"<p>{escape(block.strip()).replace(chr(10), '<br>')}</p>" for block in blocks if block.strip())


def home(request: Request, posts: Sequence[Post], number: int, last: int) -> str:
    """Return one page of the list of posts."""
    cards = "\n".join(_card(request, entry, lead=number == 1 and place == 0) for place, entry in enumerate(posts))
    root = _root(request)
    newer = f'<a rel="prev" href="{root}/?page={number - 1}">← Newer</a>' if number > 1 else "<span></span>"
    older = f'<a rel="next" href="{root}/?page={number + 1}">Older →</a>' if number < last else "<span></span>"
    paging = f'<nav class="paging" aria-label="Pages">{newer}<span>Page {number} of {last}</span>{older}</nav>'
    none_yet = f'<p class="empty">No posts yet. <a href="{root}/write">Write the first one.</a></p>'
    title = "" if number == 1 else f"Page {number}"
    return _page(request, title, f"{cards or none_yet}\n{paging if last > 1 else ''}", current="/")


def post(
    request: Request,
    entry: Post,
    comments: Sequence[Comment],
    values: Mapping[str, str] | None = None,
    problems: Sequence[str] = (),
) -> str:
    """Return the page of one post.

    :param values: the fields of a comment that was not accepted; the form shows them again.
    :param problems: why it was not accepted, one sentence each.
    """
    values = values or {}
    items = "\n".join(
        f'<li id="comment-{comment.id}"><p class="byline"><strong>{escape(comment.author)}</strong> · '
        f"{_day(comment.created)}</p>{paragraphs(comment.text)}</li>"
        for comment in comments
    )
    heading = {0: "No comments yet", 1: "1 comment"}.get(len(comments), f"{len(comments)} comments")
    body = f"""<article class="post">
<header><h1>{escape(entry.title)}</h1>{_byline(entry)}</header>
{_picture(request, entry, linked=False)}
{paragraphs(entry.text)}
</article>
<section class="comments" aria-labelledby="comments">
<h2 id="comments">{heading}</h2>
{f"<ol>{items}</ol>" if items else ""}
<form method="post" action="{_root(request)}/post/{escape(entry.slug)}/comments">
<h3>Write a comment</h3>
{_problems(problems)}
{_line("author", "Your name", values, "maxlength=60 autocomplete=name placeholder=Anonymous")}
{_area("text", "Comment", values, "rows=4 maxlength=4000 required")}
<button>Send comment</button>
</form>
</section>"""
    return _page(request, entry.title, body)


def write(request: Request, values: Mapping[str, str] | None = None, problems: Sequence[str] = ()) -> str:
    """Return the form for a post.

    :param values: the fields of a post that was not accepted; the form shows them again.
    :param problems: why it was not accepted, one sentence each.
    """
    values = values or {}
    body = f"""<h1>Write a post</h1>
<form method="post" action="{_root(request)}/write" enctype="multipart/form-data">
{_problems(problems)}
{_line("title", "Title", values, "maxlength=200 required")}
{_line("author", "Your name", values, "maxlength=60 autocomplete=name placeholder=Anonymous")}
{_area("text", "Text", values, "rows=12 maxlength=20000 required", "An empty line starts a new paragraph.")}
<p><label for="picture">Picture <small>PNG, JPEG, GIF or WebP, up to 5 MiB; optional</small></label>
<input type="file" id="picture" name="picture" accept="image/png,image/jpeg,image/gif,image/webp"></p>
<button>Publish</button>
</form>"""
    return _page(request, "Write a post", body, current="/write")


def about(request: Request, count: int) -> str:
    """Return facts about this request and the server.

    :param count: the number of posts.
    """
    environ = request.environ
    port = environ.get("REMOTE_PORT", "")
    facts = (
        ("Thread of this request", threading.current_thread().name),
        ("Threads in this process", str(threading.active_count())),
        ("Server", environ.get("SERVER_SOFTWARE", "")),
        ("Protocol", environ.get("SERVER_PROTOCOL", "")),
        ("Scheme", environ.get("wsgi.url_scheme", "")),
        ("Your address", environ.get("REMOTE_ADDR", "") + (f", port {port}" if port else "")),
        ("Host in the request", environ.get("HTTP_HOST", "")),
        ("Mounted at", request.root or "/"),
        ("Your browser", environ.get("HTTP_USER_AGENT", "")),
        ("wsgi.multithread", str(bool(environ["wsgi.multithread"]))),
        ("wsgi.multiprocess", str(bool(environ["wsgi.multiprocess"]))),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
    )
    rows = "\n".join(f"<div><dt>{name}</dt><dd>{escape(value) or '-'}</dd></div>" for name, value in facts)
    body = f"""<h1>About this page</h1>
<p>This blog is an ordinary WSGI application: functions that may block, one SQLite file, no framework.
It has {count} posts. Reload the page to see which thread serves the next request.</p>
<dl class="facts">
{rows}
</dl>
<p>The <a href="{_root(request)}/stream">archive</a> is one long page that is sent post by post, and there is an
<a href="{_root(request)}/feed.xml">Atom feed</a>.</p>"""
    return _page(request, "About", body, current="/about")


def refusal(request: Request, status: int, message: str) -> str:
    """Return the page of an error."""
    heading = HEADINGS.get(status, "Error")
    body = f"""<section class="refusal"><p class="status">{status}</p>
<h1>{heading}</h1>
<p>{escape(message)}</p>
<p><a href="{_root(request)}/">Back to the posts</a></p></section>"""
    return _page(request, heading, body)


def stream_head(request: Request) -> str:
    """Return the archive page up to its first post."""
    intro = """<h1>Archive</h1>
<p>Every post, newest first, in one response of unknown length. The server sends each post as soon as the application
yields it; the times show when that was.</p>
"""
    return _opening(request, "Archive", current="/stream") + intro


def stream_piece(request: Request, entry: Post, number: int) -> str:
    """Return one post of the archive page."""
    now = datetime.now(UTC).strftime("%H:%M:%S.%f")
    thread = escape(threading.current_thread().name)
    return f"""<article class="piece"><p class="sent">piece {number} · sent at {now} UTC · {thread}</p>
<h2><a href="{_address(request, entry)}">{escape(entry.title)}</a></h2>{_byline(entry)}
{paragraphs(entry.text)}</article>
"""


def stream_end(request: Request, number: int) -> str:
    """Return the end of the archive page."""
    posts = "1 post" if number == 1 else f"{number} posts"
    return f'<p class="empty">End of the archive: {posts}.</p>' + _closing(request)


def _page(request: Request, title: str, body: str, *, current: str = "") -> str:
    return _opening(request, title, current=current) + body + _closing(request)


def _opening(request: Request, title: str, *, current: str = "") -> str:
    root = _root(request)
    links = "".join(
        f'<a href="{root}{path}"{" aria-current=page" if path == current else ""}>{label}</a>' for path, label in LINKS
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}{" · " if title else ""}A blog on reserve</title>
<link rel="stylesheet" href="{root}/style.css">
<link rel="icon" type="image/svg+xml" href="{root}/logo.svg">
<link rel="alternate" type="application/atom+xml" title="Posts" href="{root}/feed.xml">
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
<header class="top"><div class="inner">
<a class="brand" href="{root}/">{LOGO}<span>A blog on <b>reserve</b></span></a>
<nav aria-label="Blog">{links}</nav>
</div></header>
<main id="main">
"""


def _closing(request: Request) -> str:
    thread = escape(threading.current_thread().name)
    return f"""
</main>
<footer class="bottom">Served by <code>{thread}</code> · <a href="{_root(request)}/feed.xml">Feed</a></footer>
</body>
</html>
"""


def _card(request: Request, entry: Post, *, lead: bool) -> str:
    comments = {0: "No comments", 1: "1 comment"}.get(entry.comments, f"{entry.comments} comments")
    address = _address(request, entry)
    return f"""<article class="card{" lead" if lead else ""}{" illustrated" if entry.picture else ""}">
{_picture(request, entry, linked=True)}<div class="body">
<h2><a href="{address}">{escape(entry.title)}</a></h2>{_byline(entry)}
<p>{escape(_excerpt(entry.text))}</p>
<p class="more"><a href="{address}" aria-label="Read {escape(entry.title)}">Read on</a> ·
<a href="{address}#comments">{comments}</a></p>
</div></article>"""


def _picture(request: Request, entry: Post, *, linked: bool) -> str:
    if entry.picture is None:
        return ""
    image = f'<img src="{_root(request)}/picture/{escape(entry.picture)}" alt="Picture: {escape(entry.title)}">'
    if linked:
        return f'<a class="picture" href="{_address(request, entry)}" tabindex="-1">{image}</a>'
    return f'<p class="picture">{image}</p>'


def _byline(entry: Post) -> str:
    return f'<p class="byline">{escape(entry.author)} · {_day(entry.created)}</p>'


def _day(moment: int) -> str:
    day = datetime.fromtimestamp(moment, UTC)
    return f'<time datetime="{day:%Y-%m-%dT%H:%M:%SZ}">{day.day} {MONTHS[day.month - 1]} {day.year}</time>'


def _excerpt(text: str) -> str:
    plain = " ".join(text[: 2 * EXCERPT].split())
    if len(plain) <= EXCERPT:
        return plain
    return plain[:EXCERPT].rpartition(" ")[0].rstrip(".,;:") + " …" if " " in plain[:EXCERPT] else plain[:EXCERPT] + "…"


def _address(request: Request, entry: Post) -> str:
    return f"{_root(request)}/post/{escape(entry.slug)}"


def _root(request: Request) -> str:
    return escape(request.root)


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    return f'<ul class="problems" role="alert">{"".join(f"<li>{escape(problem)}</li>" for problem in problems)}</ul>'


def _line(name: str, label: str, values: Mapping[str, str], attributes: str) -> str:
    value = escape(values.get(name, ""))
    return f'<p><label for="{name}">{label}</label>\n<input id="{name}" name="{name}" value="{value}" {attributes}></p>'


def _area(name: str, label: str, values: Mapping[str, str], attributes: str, hint: str = "") -> str:
    hint = f" <small>{hint}</small>" if hint else ""
    # Browsers drop a line end directly after the opening tag, so the text begins with one more.
    text = "\n" + escape(values.get(name, ""))
    area = f'<textarea id="{name}" name="{name}" {attributes}>{text}</textarea>'
    return f'<p><label for="{name}">{label}{hint}</label>\n{area}</p>'

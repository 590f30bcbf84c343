"""Write the newest posts as an Atom feed (RFC 4287). Pure functions, for any thread."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from reserve.examples.blog.pages import paragraphs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reserve.examples.blog.store import Post

__all__ = ["atom_feed"]


def atom_feed(base: str, uid: str, posts: Sequence[Post]) -> bytes:
    """Return the feed document.

    :param base: the blog's absolute address, without a slash at its end.
    :param uid: the blog's own UUID, which identifies the feed when the address changes.
    :param posts: the newest post first.
    """
    link = escape(base)
    updated = _timestamp(posts[0].created if posts else 0)
    entries = "".join(_entry(link, post) for post in posts)
    document = f"""<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en">
<id>urn:uuid:{escape(uid)}</id>
<title>A blog on reserve</title>
<updated>{updated}</updated>
<link rel="self" type="application/atom+xml" href="{link}/feed.xml"/>
<link rel="alternate" type="text/html" href="{link}/"/>
{entries}</feed>
"""
    return document.encode()


def _entry(link: str, post: Post) -> str:
    moment = _timestamp(post.created)
    address = f"{link}/post/{escape(post.slug)}"
    return f"""<entry>
<id>urn:uuid:{escape(post.uid)}</id>
<title>{escape(post.title)}</title>
<author><name>{escape(post.author)}</name></author>
<published>{moment}</published>
<updated>{moment}</updated>
<link rel="alternate" type="text/html" href="{address}"/>
<content type="html">{escape(paragraphs(post.text))}</content>
</entry>
"""


def _timestamp(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

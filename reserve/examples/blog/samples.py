"""The posts of a new blog: what reserve is for, in a few words each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reserve.examples.blog.drawing import hills

if TYPE_CHECKING:
    from reserve.examples.blog.pictures import Pictures
    from reserve.examples.blog.store import Store

__all__ = ["write_samples"]

HOUR = 3600

POSTS = (
    (
        "Any protocol, the same engine",
        "HTTP is only one of the things that a thread-pooled server can serve. Under it lies an engine that knows "
        "sockets, threads, deadlines and limits, and no protocol at all.\n\n"
        "If you have a TCP protocol of your own, write one function, handle(socket, client_address, server). It "
        "gets a real connected socket with a timeout, on a worker thread, and may read and write as if nobody "
        "else were there.\n\n"
        "To see the smallest one at work:\n"
        "reserve app echo --bind 127.0.0.1:7000",
    ),
    (
        "Refusing what can be read in two ways",
        "When a server and the proxy before it disagree about where a request ends, an attacker can hide a second "
        "request in the first. It is called request smuggling, and it lives on kindness: on guessing what a "
        "malformed request meant.\n\n"
        "reserve does not guess. Where a body ends is decided once, and a request that leaves room for two "
        "answers gets a 400 and a closed connection. Every size and count has a limit, every limit has a name and "
        "a default.",
    ),
    (
        "A page that arrives in pieces",
        "The archive of this blog is a generator. It yields the top of the page, then one post after the other, "
        "and the server sends each piece as soon as it is there. Nobody knows the length in advance, and nobody "
        "needs to.\n\n"
        "Between two pieces no database connection is open, so a reader who takes their time holds nothing that a "
        "writer could be waiting for.",
    ),
    (
        "A slow client costs memory, not a thread",
        "The classic trouble of threads: sixteen clients on bad connections, and all sixteen threads are busy "
        "waiting for the next few bytes, while everybody else waits for them.\n\n"
        "Here a thread belongs to a request only while application code runs. A request is received whole before "
        "a worker sees it, large bodies through a file, and what a client has not read yet is sent on when its "
        "socket is ready. Only a single generated answer larger than the spool limit makes its worker wait.",
    ),
    (
        "Blocking code is fine here",
        "The page you are reading was made by a function that opened an SQLite file, waited for the disk, and "
        "returned text. No await, no callbacks, no special driver. While it waited, another thread could work.\n\n"
        "Most database drivers block, and so does most code that people have already written and tested. A pool "
        "of threads takes it as it is. The usual price is the hand-over from thread to thread at every request, "
        "and reserve is built to keep that price low.",
    ),
    (
        "Hello from a worker thread",
        "This is a small blog: posts, comments, pictures, an archive and a feed. It is an ordinary WSGI "
        "application, it uses nothing but Python's standard library, and it comes with reserve.\n\n"
        "It is here to be played with. Write a post, add a picture, open it from two browsers. What you write is "
        "kept in one directory, which the server named when it started, and is still there after a restart.\n\n"
        "At the foot of every page you find the name of the thread that made it.",
    ),
)
"""Title and text, oldest first."""


def write_samples(store: Store, pictures: Pictures) -> None:
    """Fill a new store, so that its newest post is of this moment."""
    now = int(time.time())
    picture = pictures.add(hills())
    for place, (title, text) in enumerate(POSTS):
        age = len(POSTS) - 1 - place
        store.add_post(
            title=title, author="reserve", text=text, picture=None if age else picture, created=now - age * 26 * HOUR
        )
    for post in store.newest(1):
        store.add_comment(post, author="reserve", text="Comments look like this. Add yours.", created=now)

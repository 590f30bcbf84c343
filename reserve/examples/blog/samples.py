"""The posts of a new blog; each describes one property of reserve."""

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
        "HTTP is only one of the protocols that a thread-pooled server can serve. Below it there is an engine for "
        "sockets, threads, deadlines and limits, which contains no protocol at all.\n\n"
        "If you have a TCP protocol of your own, write one function, handle(socket, client_address, server). A "
        "worker thread calls it with a real, connected socket that has a timeout, and it may read and write as in a "
        "program with a single client.\n\n"
        "To try the smallest such application:\n"
        "reserve app echo --bind 127.0.0.1:7000",
    ),
    (
        "Refusing what can be read in two ways",
        "When a server and the proxy in front of it disagree about where a request ends, an attacker can hide a "
        "second request in the first one. This is called request smuggling. It works only with servers that guess "
        "what a malformed request means.\n\n"
        "reserve does not guess. It decides once where a body ends, and a request that can be read in two ways gets "
        "a 400 and a closed connection. Every size and every count has a limit, and every limit has a name and a "
        "default.",
    ),
    (
        "A page that arrives in pieces",
        "The archive of this blog is a generator. It yields the top of the page and then one post after the other, "
        "and the server sends each piece at once. The length of the page need not be known in advance.\n\n"
        "Between two pieces no database connection is open, so a client that reads slowly does not keep a writer "
        "waiting.",
    ),
    (
        "A slow client costs memory, not a thread",
        "This is the usual problem of threaded servers: sixteen clients have bad connections, all sixteen threads "
        "wait for their next few bytes, and every other client has to wait as well.\n\n"
        "Here a thread belongs to a request only while application code runs. The server receives the whole request "
        "before a worker runs it, large bodies through a file, and sends the rest of a response when the client's "
        "socket is ready. Only a single generated response that is larger than the spool limit makes its worker "
        "wait.",
    ),
    (
        "Blocking code is fine here",
        "A function created the page that you are reading: it opened an SQLite file, waited for the disk, and "
        "returned text. It needs no await, no callbacks and no special driver. While it waited, another thread could "
        "work.\n\n"
        "Most database drivers block, and so does most code that has been written and tested already. A pool of "
        "threads runs such code unchanged. Usually each request costs a hand-over from one thread to another, and "
        "reserve is built to avoid that cost.",
    ),
    (
        "Hello from a worker thread",
        "This is a small blog with posts, comments, pictures, an archive and a feed. It is an ordinary WSGI "
        "application that uses only Python's standard library, and it comes with reserve.\n\n"
        "Try it: write a post, add a picture, open it in two browsers. Everything that you write is kept in one "
        "directory, which the server named when it started, and is still there after a restart.\n\n"
        "At the bottom of every page is the name of the thread that created it.",
    ),
)
"""Title and text, oldest first."""


def write_samples(store: Store, pictures: Pictures) -> None:
    """Write the sample posts into a new store; the newest one is created now, and each older one 26 hours earlier."""
    now = int(time.time())
    picture = pictures.add(hills())
    for place, (title, text) in enumerate(POSTS):
        age = len(POSTS) - 1 - place
        store.add_post(
            title=title, author="reserve", text=text, picture=None if age else picture, created=now - age * 26 * HOUR
        )
    for post in store.newest(1):
        store.add_comment(post, author="reserve", text="Comments look like this. Add yours.", created=now)

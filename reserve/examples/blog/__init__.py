"""A small blog as a plain WSGI application, which ``reserve app http wsgi blog --threads 16`` serves.

It uses only the standard library and no framework, and any WSGI server with threads can run it. Its data (an SQLite
file and a folder of pictures) survives a restart. It has one option of its own::

    reserve app http wsgi blog --threads 16 -- --data /srv/blog

Without ``--data``, the blog keeps its data in a private directory ``reserve-blog-<uid>`` in the system's temporary
directory. That is right for trying it, and wrong for data that must last. There are no accounts: every client that can
connect to the blog can write in it.

The blog accepts a form only from its own pages. A browser says in ``Sec-Fetch-Site``, or in ``Origin``, which site a
form comes from; the blog refuses a form of another site with 403. Programs send neither field, and the blog accepts
them::

    curl -F title=Hello -F text='Written with curl.' -F picture=@photo.jpg http://127.0.0.1:8080/write
    curl -d author=Ann -d text='Well said.' http://127.0.0.1:8080/post/hello/comments
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reserve.errors import UsageError
from reserve.examples.blog.app import Blog
from reserve.examples.blog.datafolder import default_folder, prepared_folder
from reserve.examples.blog.pictures import Pictures
from reserve.examples.blog.samples import write_samples
from reserve.examples.blog.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed.wsgi import WSGIApplication

__all__ = ["launch"]


def launch(args: Sequence[str]) -> WSGIApplication:
    """Open the blog's data, or create it with a few sample posts, and return the WSGI callable.

    :param args: the program text, then the blog's own options: ``--data DIR`` or ``--data=DIR``.
    :raises UsageError: there is another argument, or ``--data`` without a directory.
    :raises StartupError: the directory cannot be used; the text says why.
    """
    if not {"-h", "--help"}.isdisjoint(args[1:]):
        print(
            f"usage: {args[0]} [-- --data DIR]\n\n  --data DIR   keep posts and pictures in this directory", flush=True
        )
        raise SystemExit(0)
    data = _data_option(args[1:])
    folder = prepared_folder(data) if data is not None else default_folder()
    pictures = Pictures(folder / "pictures")
    store = Store(folder / "blog.sqlite3", first_posts=lambda new: write_samples(new, pictures))
    advice = "" if data is not None else ", which the system may empty; to keep them, add: -- --data DIR"
    print(f"blog: posts and pictures are in {folder}{advice}", file=sys.stderr, flush=True)
    return Blog(store, pictures)


def _data_option(options: Sequence[str]) -> Path | None:
    folder: Path | None = None
    remaining = iter(options)
    for option in remaining:
        name, equals, value = option.partition("=")
        if name != "--data":
            raise UsageError(f"blog: unknown argument {option!r}; after -- it takes only --data DIR")
        if not equals:
            value = next(remaining, "")
        if not value or (not equals and value.startswith("--")):
            raise UsageError("blog: --data needs a directory, for example --data /srv/blog")
        if "\0" in value:
            raise UsageError(f"blog: --data {value!r} contains a NUL, which a file name cannot")
        folder = Path(value)
    return folder

"""A small real blog as a plain WSGI application: what ``reserve app http wsgi blog --threads 16`` serves.

Standard library only, no framework, and nothing of it needs reserve's own server: any WSGI server with threads can
run it. Its data (an SQLite file and a folder of pictures) survives a restart. One option of its own::

    reserve app http wsgi blog --threads 16 -- --data /srv/blog

Without ``--data`` it is kept in a private directory ``reserve-blog-<uid>`` in the system's temporary directory: right
for a first look, wrong for what you want to keep. Whoever can reach the blog can write in it; there are no accounts.

Forms and other sites. A form is taken only from the blog's own pages: the browser tells where it comes from in
``Sec-Fetch-Site``, or in ``Origin``, and another site is refused with 403. Programs send neither, and are welcome::

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
    """Open the blog's data, or make it with a few sample posts, and return the WSGI callable.

    :param args: the program text, then the blog's own options: ``--data DIR`` or ``--data=DIR``.
    :raises UsageError: any other argument, or ``--data`` without a directory.
    :raises StartupError: the directory cannot be used; the sentence says why.
    """
    given = _data_option(args[1:])
    folder = prepared_folder(given) if given is not None else default_folder()
    pictures = Pictures(folder / "pictures")
    store = Store(folder / "blog.sqlite3", first_posts=lambda new: write_samples(new, pictures))
    print(f"blog: posts and pictures are kept in {folder}", file=sys.stderr, flush=True)
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
            raise UsageError(f"blog: --data {value!r} contains a NUL, which no file name can")
        folder = Path(value)
    return folder

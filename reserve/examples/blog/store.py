"""Posts and comments in one SQLite file.

Any thread of any process may call any method. Every call opens a database connection of its own and closes it, so
threads share nothing and a forked process inherits nothing. The file is in write-ahead mode, in which readers never
wait; a writer waits for other writers for at most :data:`BUSY_SECONDS`.

A new file is filled under another name and then linked to its own name. So no thread ever reads an incomplete blog, and
when several processes start at the same time, they all use the file of the first one.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import tempfile
import time
import unicodedata
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reserve.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Comment", "Post", "Store", "slug_of"]

BUSY_SECONDS = 20.0
"""Seconds that a writer waits for another one. After that SQLite raises "database is locked", and the client gets a
500.
"""

MAX_ID = 2**63 - 1

LAYOUT = 1
"""The version of the tables, kept in the file's ``user_version``."""

TABLES = """
CREATE TABLE blog (uid TEXT NOT NULL);
CREATE TABLE posts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE, uid TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL, author TEXT NOT NULL, text TEXT NOT NULL, picture TEXT, created INTEGER NOT NULL
);
CREATE TABLE comments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, post INTEGER NOT NULL REFERENCES posts (id),
    author TEXT NOT NULL, text TEXT NOT NULL, created INTEGER NOT NULL
);
CREATE INDEX comments_by_post ON comments (post, id);
"""

SELECT_POSTS = (
    "SELECT id, slug, uid, title, author, text, picture, created,"
    " (SELECT count(*) FROM comments WHERE comments.post = posts.id) FROM posts "
)


@dataclass(frozen=True)
class Post:
    """One post. ``created`` is in Unix seconds, ``picture`` a name for :class:`~.pictures.Pictures`, or None."""

    id: int
    slug: str
    uid: str
    title: str
    author: str
    text: str
    picture: str | None
    created: int
    comments: int


@dataclass(frozen=True)
class Comment:
    """One comment below a post."""

    id: int
    author: str
    text: str
    created: int


class Store:
    """The blog's file. A :class:`Blog` has one, which all its threads use.

    :param path: the SQLite file; it is created if it is missing.
    :param first_posts: called with the store of a new file before other threads and processes can open that file.
    :raises StartupError: the file cannot be opened, or another version of the blog made it.
    """

    def __init__(self, path: Path, *, first_posts: Callable[[Store], None] | None = None) -> None:
        self.path = path
        try:
            if not path.exists():
                self._create(first_posts)
            with self._connection() as database:
                (layout,) = database.execute("PRAGMA user_version").fetchone()
                if layout != LAYOUT:
                    raise StartupError(f"blog: {path} has the table layout {layout}, not {LAYOUT}; use another --data")
                (self.uid,) = database.execute("SELECT uid FROM blog").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise StartupError(f"blog: cannot open {path}: {error}") from error

    def count(self) -> int:
        """Return the number of posts."""
        with self._connection() as database:
            (posts,) = database.execute("SELECT count(*) FROM posts").fetchone()
        return int(posts)

    def newest(self, limit: int, *, skip: int = 0) -> list[Post]:
        """Return up to ``limit`` posts, newest first, without the newest ``skip`` posts."""
        with self._connection() as database:
            rows = database.execute(SELECT_POSTS + "ORDER BY id DESC LIMIT ? OFFSET ?", (limit, skip)).fetchall()
        return [Post(*row) for row in rows]

    def before(self, post_id: int | None, limit: int) -> list[Post]:
        """Return up to ``limit`` posts that are older than ``post_id`` (None: the newest posts), newest first."""
        with self._connection() as database:
            rows = database.execute(
                SELECT_POSTS + "WHERE id < ? ORDER BY id DESC LIMIT ?", (MAX_ID if post_id is None else post_id, limit)
            ).fetchall()
        return [Post(*row) for row in rows]

    def post(self, slug: str) -> Post | None:
        """Return the post with this slug, or None."""
        with self._connection() as database:
            row = database.execute(SELECT_POSTS + "WHERE slug = ?", (slug,)).fetchone()
        return Post(*row) if row else None

    def comments(self, post: Post) -> list[Comment]:
        """Return the comments of a post, oldest first."""
        with self._connection() as database:
            rows = database.execute(
                "SELECT id, author, text, created FROM comments WHERE post = ? ORDER BY id", (post.id,)
            ).fetchall()
        return [Comment(*row) for row in rows]

    def add_post(
        self, *, title: str, author: str, text: str, picture: str | None = None, created: int | None = None
    ) -> str:
        """Write a post and return its slug, which never changes and belongs to no other post.

        :param picture: the name of a stored picture.
        :param created: Unix seconds; None: now.
        """
        base = slug_of(title)
        uid = str(uuid.uuid4())
        moment = int(time.time()) if created is None else created
        with self._connection() as database, _transaction(database):
            cursor = database.execute(
                "INSERT INTO posts (slug, uid, title, author, text, picture, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (uid, uid, title, author, text, picture, moment),
            )
            for slug in _candidates(base, cursor.lastrowid):
                if not database.execute("SELECT 1 FROM posts WHERE slug = ?", (slug,)).fetchone():
                    database.execute("UPDATE posts SET slug = ? WHERE id = ?", (slug, cursor.lastrowid))
                    break
        return slug

    def add_comment(self, post: Post, *, author: str, text: str, created: int | None = None) -> int:
        """Write a comment and return its id.

        :param created: Unix seconds; None: now.
        """
        moment = int(time.time()) if created is None else created
        with self._connection() as database, _transaction(database):
            cursor = database.execute(
                "INSERT INTO comments (post, author, text, created) VALUES (?, ?, ?, ?)",
                (post.id, author, text, moment),
            )
        return int(cursor.lastrowid or 0)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # mode=rw: when the file of a running blog was deleted, the result is an error and not an empty blog.
        address = f"{self.path.absolute().as_uri()}?mode=rw"
        with contextlib.closing(
            sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        ) as database:
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("PRAGMA synchronous = NORMAL")
            yield database

    def _create(self, first_posts: Callable[[Store], None] | None) -> None:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.path.parent) as folder:
            new = Path(folder) / "blog.sqlite3"
            with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(TABLES)
                database.execute("INSERT INTO blog VALUES (?)", (str(uuid.uuid4()),))
                database.execute(f"PRAGMA user_version = {LAYOUT}")
            if first_posts is not None:
                first_posts(Store(new))
            with contextlib.suppress(FileExistsError):
                os.link(new, self.path)


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE takes the write lock first. A transaction that reads and then writes could not wait for the lock.
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _candidates(base: str, post_id: int | None) -> Iterator[str]:
    # With the id, the second candidate is nearly always free. Counting from 2 would be slow for the thousandth
    # "Untitled".
    yield base
    slug = f"{base}-{post_id}"
    while True:
        yield slug
        slug += "-x"


def slug_of(title: str) -> str:
    """Return the part of an address for a title: at most 60 of a-z, 0-9 and single hyphens; ``post`` if none remain."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub("[^a-z0-9]+", "-", plain.replace("'", ""))
    return slug[:61].strip("-")[:60] or "post"

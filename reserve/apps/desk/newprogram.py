"""``reserve desk new NAME``: writes a small program for :mod:`reserve.desk`, to begin with.

Runs on the main thread. It writes into a new directory only, or nothing at all.
"""

from __future__ import annotations

import keyword
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from string import Template

from reserve.errors import StartupError, UsageError

__all__ = ["USAGE", "make_program"]

USAGE = """\
usage: reserve desk new NAME

Write a directory NAME with a small program for reserve.desk, to begin with: NAME.py, a template, and a test.
NAME is a word of letters, digits, - and _, as diary.

reserve app desk MODULE serves such a program; reserve app desk -h describes that.
"""

_PROGRAM = '''\
"""$title: a program that is used in a browser on this machine."""

import contextlib
import sqlite3
from pathlib import Path

from reserve.desk import Request, Response, Router, TemplateFolder, TemplateLoop, TransactionGuard, serve_http

HERE = Path(__file__).parent
page = TemplateFolder(HERE / "templates")
notes = TemplateLoop(
    "<ul>",
    '<li>{text} <form method="post" action="/delete/{id}"><button>Delete</button></form></li>',
    "</ul>",
    "<p>No notes yet.</p>",
)


def open_database(path):
    database = sqlite3.connect(path)
    database.execute("create table if not exists notes (id integer primary key, text text not null)")
    return database


# Every handler runs on the thread that has opened this connection, one request at a time.
database = open_database(HERE / "$module.db")
router = Router()


@router.servlet("/")
class Notes:
    def do_GET(self, request: Request):
        rows = database.execute("select id, text from notes order by id desc")
        return page("notes")(notes=notes.loop({"id": number, "text": text} for number, text in rows))

    def do_POST(self, request: Request):
        text = request.POST.get("text", "").strip()
        if text:
            database.execute("insert into notes (text) values (?)", (text,))
            database.commit()
        return Response.redirect("/")


@router.servlet("/delete/*")
class Delete:
    def __init__(self, number):
        self.number = number

    def do_POST(self, request: Request):
        database.execute("delete from notes where id = ?", (self.number,))
        database.commit()
        return Response.redirect("/")


@router.servlet("/quit")
class Quit:
    def do_POST(self, request: Request):
        return Response("<p>The program has ended. You may close this page.</p>", shut_down=True)


app = TransactionGuard(router, database)

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the program without a traceback
        serve_http(app)
'''

_TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width">
  <title>$title</title>
  <style>
    body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }
    li form { display: inline }
  </style>
</head>
<body>
  <h1>$title</h1>
  <form method="post"><input name="text" aria-label="New note" autofocus> <button>Add</button></form>
  {notes}
  <form method="post" action="/quit"><button>Quit</button></form>
</body>
</html>
"""

_TEST = '''\
"""Tests of $module.py: python -m pytest (after pip install pytest)."""

import $module as program
import pytest
from reserve.desk import Request


@pytest.fixture(autouse=True)
def _database(monkeypatch):
    database = program.open_database(":memory:")
    monkeypatch.setattr(program, "database", database)
    yield
    database.close()


def get(path):
    return program.app(Request("GET", path, "HTTP/1.1", {}, None)).body.decode()


def post(path, form=b""):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return program.app(Request("POST", path, "HTTP/1.1", headers, form))


def test_a_note_is_added_and_deleted():
    assert "No notes yet" in get("/")
    assert post("/", b"text=milk+%26+eggs").code == 302
    assert "milk &amp; eggs" in get("/")
    post("/delete/1")
    assert "milk" not in get("/")
    assert 'name="text"' in get("/")
'''


def make_program(arguments: Sequence[str], *, asks_for_help: bool = False) -> str:
    """Write the program, and return what to print.

    :param arguments: the command line after ``desk``.
    :param asks_for_help: ``-h`` was among them.
    :raises UsageError: other arguments than ``new`` and a name that a module can have.
    :raises StartupError: something has that name already, or it cannot be written.
    """
    if asks_for_help:
        return USAGE
    if len(arguments) != 2 or arguments[0] != "new":
        raise UsageError(
            "reserve desk knows one command: new NAME; to serve a program write: reserve app desk MODULE"
            if arguments[:1] != ["new"]
            else "reserve desk new takes the name of the program, as: reserve desk new diary"
        )
    directory = arguments[1]
    module = directory.replace("-", "_")
    if not module.isidentifier() or not module.isascii() or keyword.iskeyword(module):
        raise UsageError(f"{directory!r} cannot be the name of a program: it is a word of letters, digits, - and _")
    if module in sys.stdlib_module_names or module in ("reserve", "templates"):
        raise UsageError(f"{directory!r} cannot be the name of a program: a module has that name; choose another one")
    words = {"module": module, "title": module.replace("_", " ").capitalize()}
    try:
        os.mkdir(directory)
    except FileExistsError:
        raise StartupError(f"{directory} exists already, and nothing is overwritten; choose another name") from None
    except OSError as error:
        raise StartupError(f"{directory} cannot be made: {error.strerror}") from error
    try:
        os.mkdir(os.path.join(directory, "templates"))
        for name, text in (
            (f"{module}.py", _PROGRAM),
            (os.path.join("templates", "notes.tpl"), _TEMPLATE),
            (f"test_{module}.py", _TEST),
        ):
            with open(os.path.join(directory, name), "x", encoding="utf-8", newline="\n") as file:
                file.write(Template(text).substitute(words))
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise StartupError(f"{directory} cannot be written: {error.strerror}") from error
    return (
        f"{directory} has a program to begin with: {module}.py, templates/notes.tpl and test_{module}.py. Try it:\n"
        f"    cd {shlex.quote(directory)}\n"
        f"    python {module}.py\n"
    )

"""The datebook: its pages and forms, two tabs with one record, its files, the guard, its start and its end."""

from __future__ import annotations

import datetime
import io
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from reserve.errors import StartupError, UsageError
from tests.extras import library
from tests.waiting import PATIENCE

for name in ("itsdangerous", "markupsafe", "python_multipart"):
    library(name)

from reserve.desk import Request, Response  # noqa: E402
from reserve.examples import datebook  # noqa: E402

ROOT = Path(datebook.__file__).parents[3]
TODAY = datetime.date.today()
ANN = {"name": "Ann <b>", "phone": "+49 30 1", "email": "ann@x.example", "address": "A\r\nB", "memo": '100% "fine"'}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)


class Visitor:
    """Requests for the datebook, without a server; it opens the file and closes it."""

    def __init__(self, path: Path, mount: str = "") -> None:
        datebook.store.open(path)
        datebook.store.can_quit = True
        self.mount = mount

    def request(self, method: str, address: str, headers: dict[str, str], body: bytes) -> Response:
        path, _, query = address.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": self.mount, "PATH_INFO": path, "QUERY_STRING": query,
            "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "localhost", "SERVER_PORT": "80", "HTTP_HOST": "localhost",
            "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), "wsgi.url_scheme": "http",
        }  # fmt: skip
        for key, value in headers.items():
            environ[key.upper().replace("-", "_")] = value
        response = datebook.app(Request.from_environ(environ))
        assert response.body is not None  # reads and closes a file
        return response

    def get(self, address: str) -> Response:
        return self.request("GET", address, {}, b"")

    def text(self, address: str) -> str:
        response = self.get(address)
        assert response.code == 200, address
        return response.body.decode()

    def post(self, address: str, form: dict[str, str] | None = None) -> Response:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self.request("POST", address, kind, urlencode(form or {}).encode())

    def upload(self, address: str, filename: str, content: bytes) -> Response:
        body = (
            f'--xx\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
            "Content-Type: image/png\r\n\r\n"
        ).encode() + content + b"\r\n--xx--\r\n"  # fmt: skip
        return self.request("POST", address, {"content-type": "multipart/form-data; boundary=xx"}, body)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Visitor]:
    yield Visitor(tmp_path / "book.sqlite3")
    datebook.store.close()


def field(text: str, name: str) -> str:
    """What a form shows in a field."""
    if found := re.search(rf'<textarea[^>]*name="{name}"[^>]*>\n?(.*?)</textarea>', text, re.S):
        return unescape(found[1])
    (tag,) = re.findall(rf'<input[^>]*name="{name}"[^>]*>', text)
    found = re.search(r'value="([^"]*)"', tag)
    return unescape(found[1]) if found else ""


def errors(text: str) -> list[str]:
    return [unescape(error) for error in re.findall(r'<p class="error"[^>]*>([^<]*)</p>', text)]


# ---- pages ----


@pytest.mark.parametrize(
    "address",
    ["/", "/contact/", "/contact/new", "/appointment/", "/appointment/?when=past", "/appointment/new", "/task/",
     "/task/?order=priority", "/task/new", "/guard", "/static/datebook.css", "/static/icon.svg"],
)  # fmt: skip
@pytest.mark.parametrize("samples", [False, True])
def test_every_page_of_the_menu_is_there(book: Visitor, address: str, samples: bool) -> None:
    if samples:
        assert book.post("/samples").code == 303
    response = book.get(address)
    assert response.code == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("mount", ["", "/my book"])
def test_every_link_and_picture_leads_somewhere(tmp_path: Path, mount: str) -> None:
    book = Visitor(tmp_path / "book.sqlite3", mount)
    try:
        book.post("/samples")
        book.upload("/contact/1/upload", "a.png", PNG)
        base = mount.replace(" ", "%20") + "/"
        unread, seen = ["", "guard"], set()
        while unread:
            address = unread.pop()
            if address in seen:
                continue
            seen.add(address)
            text = (
                book.text("/" + unescape(address).replace("%20", " "))
                if not re.search(r"^static|^file/.*/(show|download)|^static", address)
                else ""
            )
            if not text:
                assert book.get(f"/{address}").code == 200, address
                continue
            assert f'<base href="{base}">' in text
            links = re.findall(r'(?:href|src)="([^"]*)"', text.replace(f'<base href="{base}">', ""))
            assert not [link for link in links if link.startswith(("/", "http"))]
            unread += ["" if link == "." else link for link in links]
        assert {"contact/1", "appointment/1", "task/1", "delete/contact/1", "file/1/show", "static/icon.svg"} <= seen
    finally:
        datebook.store.close()


@pytest.mark.parametrize(
    "address",
    ["/nothing", "/contact/99", "/contact/x", "/contact/-1", "/contact/\u0661", "/contact/" + "9" * 40, "/task/0",
     "/appointment/7", "/delete/contact/9", "/delete/sqlite_master/1", "/file/3/show", "/file/3/other", "/static/none"],
)  # fmt: skip
def test_what_does_not_exist_is_404_on_a_page_of_the_datebook(book: Visitor, address: str) -> None:
    response = book.get(address.encode().decode("latin-1"))
    assert response.code in (404, 405), response.body
    if response.code == 404:
        assert b"There is nothing on this page" in response.body


def test_today_has_what_is_planned_and_what_is_due(book: Visitor) -> None:
    book.post("/samples")
    text = book.text("/")
    assert text.count("<li>") >= 4
    assert "Coffee at the corner" in text
    assert "10:00 to 11:00" in text
    assert "Renew the passport" in text
    assert 'class="late"' in text  # the plants
    assert "An empty book" not in text
    assert "not empty any more" in book.text("/" if book.post("/samples").code == 303 else "")


def test_a_notice_is_shown_once(book: Visitor) -> None:
    book.post("/contact/new", ANN)
    assert "Contact saved." in book.text("/contact/")
    assert "Contact saved." not in book.text("/contact/")


def test_the_search_finds_every_field_and_takes_wildcards_as_text(book: Visitor) -> None:
    book.post("/contact/new", ANN)
    book.post("/contact/new", {**ANN, "name": "Bob_\\\u00e4", "memo": ""})
    for q, names in {
        "": ["Ann", "Bob"], "ann <B": ["Ann"], "30 1": ["Ann", "Bob"], "100%": ["Ann"], "_": ["Bob"], "\\": ["Bob"],
        "%": ["Ann"], "zzz": [], "'": [], "B\n": ["Ann", "Bob"], "\u00c4": ["Bob"],
    }.items():  # fmt: skip
        text = book.text(f"/contact/?{urlencode({'q': q})}")
        assert [name for name in ("Ann", "Bob") if f"<b>{name}" in text] == names, q
        assert field(text, "q") == q
    assert "No contact contains \u201czzz\u201d." in book.text("/contact/?q=zzz")


# ---- forms ----


def test_a_contact_is_created_and_changed(book: Visitor) -> None:
    assert book.post("/contact/new", ANN).headers["location"] == "/contact/1"
    text = book.text("/contact/1")
    assert "Ann &lt;b&gt;" in text
    assert "<b>Ann <b>" not in text
    assert {key: field(text, key) for key in ANN} == ANN | {"address": field(text, "address")}
    assert field(text, "version") == "1"
    changed = {**ANN, "name": "Anna", "version": "1"}
    assert book.post("/contact/1", changed).code == 303
    assert field(book.text("/contact/1"), "name") == "Anna"
    assert field(book.text("/contact/1"), "version") == "2"


FORMS: dict[str, tuple[dict[str, str], dict[str, str], list[str]]] = {
    # page: what is typed with errors, what has to be shown again, the messages
    "/contact/new": (
        {"name": " ", "phone": "call <me>", "email": "a@b", "address": "</textarea>", "memo": "x & y"},
        {"phone": "call <me>", "email": "a@b", "address": "</textarea>", "memo": "x & y"},
        ["Please fill this in.", "A phone number has", "This does not look like"],
    ),
    "/appointment/new": (
        {"title": "Tea", "day": "2001-02-03", "starts": "10:00", "ends": "09:00", "contact": "", "memo": "m"},
        {"title": "Tea", "day": "2001-02-03", "starts": "10:00", "ends": "09:00", "memo": "m"},
        ["This day is over.", "It ends before it begins."],
    ),
    "/task/new": (
        {"title": "", "due": "2030-02-30", "priority": "", "done": "0", "memo": "m"},
        {"due": "2030-02-30", "memo": "m"},
        ["Please fill this in.", "", "Please choose one."],
    ),
}


@pytest.mark.parametrize("address", FORMS)
def test_a_form_with_errors_keeps_what_was_typed(book: Visitor, address: str) -> None:
    typed, shown, messages = FORMS[address]
    response = book.post(address, typed)
    assert response.code == 422
    text = response.body.decode()
    assert {key: field(text, key) for key in shown} == shown
    found = errors(text)
    assert len(found) == len(messages)
    assert all(text.startswith(message) for text, message in zip(found, messages, strict=True)), found
    assert book.text("/contact/").count("<li>") == 0


def test_an_appointment_begins_with_the_day_and_the_contact_of_the_link(book: Visitor) -> None:
    book.post("/contact/new", ANN)
    text = book.text("/appointment/new?contact=1&day=2030-05-06")
    assert field(text, "day") == "2030-05-06"
    assert '<option selected value="1">Ann &lt;b&gt;</option>' in text


def test_an_appointment_keeps_its_contact_until_that_is_deleted(book: Visitor) -> None:
    book.post("/contact/new", ANN)
    tea = {"title": "Tea", "day": f"{TODAY}", "starts": "", "ends": "", "contact": "1", "memo": ""}
    assert book.post("/appointment/new", tea).code == 303
    assert "Ann &lt;b&gt;" in book.text("/appointment/")
    assert "Tea" in book.text("/contact/1")
    assert book.post("/appointment/new", {**tea, "contact": "2"}).code == 422
    assert "cannot be undone" in book.text("/delete/contact/1")
    assert book.post("/delete/contact/1").code == 303
    assert "is deleted" in book.text("/contact/")
    assert "Ann &lt;b&gt;" not in book.text("/appointment/")
    assert "Tea" in book.text("/appointment/")


def test_a_task_is_ticked_off_and_on(book: Visitor) -> None:
    book.post("/task/new", {"title": "Knit", "due": "", "priority": "0", "done": "0", "memo": ""})
    assert 'class="open"' in book.text("/task/")
    assert book.post("/task/1/done", {"back": "task/?order=priority"}).headers["location"] == "/task/?order=priority"
    assert 'class="done"' in book.text("/task/")
    assert book.post("/task/1/done", {"back": "https://evil.example"}).headers["location"] == "/task/"
    assert 'class="open"' in book.text("/task/")


# ---- two tabs ----


def test_a_record_that_another_tab_changed_is_not_overwritten_unseen(book: Visitor) -> None:
    book.post("/contact/new", ANN)
    first, second = book.text("/contact/1"), book.text("/contact/1")
    assert book.post("/contact/1", {**ANN, "phone": "11", "version": field(first, "version")}).code == 303
    mine = {**ANN, "phone": "22", "version": field(second, "version")}
    for _ in range(2):  # also when it is sent again
        response = book.post("/contact/1", mine)
        text = response.body.decode()
        assert response.code == 409
        assert field(text, "phone") == "22"
        assert "<dt>Phone</dt><dd>11</dd>" in text
        assert "<dt>Name" not in text
        assert "<dt>Address" not in text
    assert field(book.text("/contact/1"), "phone") == "11"

    # What the visitor has not seen is not overwritten either.
    (newer,) = re.findall(r'name="overwrite" value="(\d+)"', text)
    assert book.post("/contact/1", {**ANN, "phone": "33", "version": "2"}).code == 303
    assert book.post("/contact/1", {**mine, "overwrite": newer}).code == 409
    assert book.post("/contact/1", {**mine, "overwrite": "3"}).code == 303
    assert field(book.text("/contact/1"), "phone") == "22"


def test_a_record_that_another_tab_deleted_can_be_saved_as_a_new_one(book: Visitor) -> None:
    book.post("/task/new", {"title": "Knit", "due": "", "priority": "0", "done": "0", "memo": ""})
    mine = {"title": "Knit a hat", "due": "", "priority": "1", "done": "0", "memo": "", "version": "1"}
    book.post("/delete/task/1")
    response = book.post("/task/1", mine)
    assert response.code == 409
    assert field(response.body.decode(), "title") == "Knit a hat"
    assert b"has deleted this task" in response.body
    assert book.post("/task/1", mine).code == 409
    assert book.post("/task/1", {**mine, "overwrite": "new"}).code == 303
    assert "Knit a hat" in book.text("/task/")


def test_the_note_about_another_tab_shows_labels_not_numbers(book: Visitor) -> None:
    task = {"title": "Knit", "due": "", "priority": "0", "done": "0", "memo": ""}
    book.post("/task/new", task)
    book.post("/task/1", {**task, "priority": "2", "version": "1"})
    text = book.post("/task/1", {**task, "version": "1"}).body.decode()
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text) == [("Priority", "Low")]


def test_a_form_without_a_version_changes_nothing(book: Visitor) -> None:
    book.post("/contact/new", ANN)
    assert book.post("/contact/1", {**ANN, "name": "Eve"}).code == 409
    assert book.post("/contact/1", {**ANN, "name": "Eve", "version": "x"}).code == 422
    assert "Eve" not in book.text("/contact/")


# ---- files ----


def test_a_photo_is_shown_and_a_document_only_downloaded(book: Visitor) -> None:
    book.post("/contact/new", ANN)
    assert book.upload("/contact/1/upload", "me.png", PNG).code == 303
    assert book.upload("/contact/1/upload", "C:\\docs\\K\u00e4se.html", b"<script>alert(1)</script>").code == 303
    text = book.text("/contact/1")
    assert '<img src="file/1/show"' in text
    assert "K\u00e4se.html" in text
    assert 'src="file/1/show"' in book.text("/contact/")
    show = book.get("/file/1/show")
    assert (show.body, show.headers["content-type"]) == (PNG, "image/png")
    assert book.get("/file/2/show").code == 404  # whatever type the browser claimed
    load = book.get("/file/2/download")
    assert load.body == b"<script>alert(1)</script>"
    assert load.headers["content-type"] == "application/octet-stream"
    assert load.headers["content-disposition"] == "attachment; filename*=UTF-8''K%C3%A4se.html"
    assert book.post("/file/1/delete").code == 303
    assert book.get("/file/1/show").code == 404
    book.post("/delete/contact/1")
    assert book.get("/file/2/download").code == 404


def test_a_wrong_upload_gets_a_sentence_on_the_page_of_the_contact(
    book: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.post("/contact/new", ANN)
    none = book.upload("/contact/1/upload", "", b"")
    assert (none.code, errors(none.body.decode())) == (422, ["Please choose a file first."])
    monkeypatch.setattr(datebook, "MAX_UPLOAD", 1024 * 1024)
    large = book.upload("/contact/1/upload", "a.bin", bytes(1024 * 1024 + 1))
    assert (large.code, errors(large.body.decode())) == (422, ["The file is larger than 1 MiB."])
    assert book.upload("/contact/9/upload", "a.png", PNG).code == 404
    assert book.get("/contact/1/upload").code == 405


# ---- the guard, the end ----


def test_the_guard_turns_a_lie_into_an_error(book: Visitor) -> None:
    assert book.post("/guard", {"how": "commit"}).code == 303
    assert '<b id="count">1</b>' in book.text("/guard")
    response = book.post("/guard", {"how": "forget"})
    assert response.code == 500
    assert b"Nothing was saved" in response.body
    assert b"The task is saved." not in response.body
    assert not datebook.store.connection.in_transaction
    text = book.text("/guard")
    assert '<b id="count">1</b>' in text
    assert book.post("/guard", {"how": "commit"}).code == 303


def test_the_button_ends_the_program_only_when_it_is_one(book: Visitor) -> None:
    assert 'action="quit"' in book.text("/")
    response = book.post("/quit")
    assert response.shut_down
    assert b"The datebook is closed" in response.body
    datebook.store.can_quit = False
    assert 'action="quit"' not in book.text("/")
    assert book.post("/quit").code == 404


# ---- its start ----


def test_the_data_is_kept_in_the_folder_for_the_users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATEBOOK_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    datebook.launch(["datebook"])
    datebook.store.close()
    assert (tmp_path / "data" / "datebook" / "datebook.sqlite3").is_file()
    assert (tmp_path / "data" / "datebook").stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datebook.default_file() == tmp_path / ".local" / "share" / "datebook" / "datebook.sqlite3"


def test_the_handle_opens_the_file_of_the_environment_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATEBOOK_DATA", str(tmp_path / "named.sqlite3"))
    response = datebook.app(Request("GET", "/", "HTTP/1.1", {}, None))
    datebook.store.close()
    assert response.code == 200
    assert (tmp_path / "named.sqlite3").is_file()


def test_launch_makes_an_application_of_one_thread_whose_data_survives(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "\u00f6 ?#.sqlite3"
    application = datebook.launch(["datebook", "--data", str(path)])
    try:
        assert application.single_thread
        assert not datebook.store.can_quit
        Visitor.post(Visitor(path), "/contact/new", ANN)
        assert "Ann" in Visitor(path).text("/contact/")
    finally:
        datebook.store.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--port", "80"], "unrecognized arguments: --port 80"), (["here"], "here"), (["--data"], "--data: expected one")],
)
def test_wrong_arguments_are_a_usage_error(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        datebook.launch(["datebook", *arguments])


def _text(path: Path) -> Path:
    path.write_bytes(b"no database" * 100)
    return path


def _layout(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma user_version = 7")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: _text(folder / "a"), "cannot use .*not a database.*--data"),
        (lambda folder: _layout(folder / "b"), "layout 7"),
        (lambda folder: folder, "cannot open .*--data"),
        (lambda folder: _text(folder / "c") / "below", "c is not a folder.*--data"),
        (lambda folder: _text(folder / "c") / "far" / "below", "cannot open .*--data"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(StartupError, match=message):
        datebook.launch(["datebook", "--data", str(make(tmp_path))])
    assert not datebook.store.is_open


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["--port", "x"], 2), (["--data", "/dev/null/x"], 2)])
def test_the_module_says_what_it_takes_and_what_is_wrong(arguments: list[str], code: int) -> None:
    command = [sys.executable, "-m", "reserve.examples.datebook", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "--data" in (done.stdout if code == 0 else done.stderr + "--data")

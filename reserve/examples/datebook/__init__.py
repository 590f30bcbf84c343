"""A datebook for one person: contacts, appointments and tasks, as an example of a program with :mod:`reserve.desk`.

``python -m reserve.examples.datebook`` starts it and opens the browser; ``--help`` shows its options. The full server
serves it, too::

    reserve app desk reserve.examples.datebook
    reserve app http wsgi datebook -- --data book.sqlite3

The program is this file, a folder of templates and a folder of static files. Its data is one SQLite file: the one that
``--data`` or the environment variable ``DATEBOOK_DATA`` names, or ``datebook/datebook.sqlite3`` in the folder where the
system keeps the data of a user's programs. Every request is
served on the thread that opened that file, one after another, so the program needs no locks and keeps its state in
global variables. What it shows beside the ordinary:

- A form with an error is shown again with everything that was typed (:class:`RecordForm`).
- Each record has a version. A form whose record was changed in another tab meanwhile is not saved over it.
- A handler that forgets to commit is noticed: the page "Safety net" has one that does (:class:`SafetyNet`).
- A button ends the program.

The tutorial ``reserve/docs/desk.md`` explains the parts.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sqlite3
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from reserve.desk import (
    Application,
    FileUpload,
    Request,
    Response,
    Router,
    StaticFolder,
    Template,
    TemplateFolder,
    TransactionGuard,
    forms,
    serve_http,
)
from reserve.errors import StartupError, UsageError

__all__ = ["launch", "main"]

HERE = Path(__file__).parent
LAYOUT = 1
"""The version of the tables below, kept in the file (``pragma user_version``)."""
SCHEMA = """
create table contact (
    contact integer primary key,
    version integer not null default 1,
    name text not null,
    phone text not null,
    email text not null,
    address text not null,
    memo text not null
);
create table file (
    file integer primary key,
    contact integer not null references contact on delete cascade,
    name text not null,
    type text not null,
    content blob not null
);
create table appointment (
    appointment integer primary key,
    version integer not null default 1,
    contact integer references contact on delete set null,
    title text not null,
    day text not null,
    starts text,
    ends text,
    memo text not null
);
create table task (
    task integer primary key,
    version integer not null default 1,
    title text not null,
    due text,
    priority integer not null check (priority in (1, 2, 3)),
    done integer not null check (done in (0, 1)),
    memo text not null
);
create index contact_name on contact (name);
create index file_contact on file (contact);
create index appointment_day on appointment (day);
create index appointment_contact on appointment (contact);
create index task_due on task (due) where not done;
"""
MAX_UPLOAD = 8 * 1024 * 1024
"""The most bytes of an uploaded file. A larger one gets a sentence on the contact's page."""
MAX_BODY = 2 * MAX_UPLOAD
"""The most bytes of a request. Between the two limits the page can say what is wrong; above, the server refuses."""
PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
"""How the files of the pictures begin that are shown as one. The type that a browser names is not trusted."""


class Missing(Exception):
    """The page is about a record that does not exist; the visitor gets the page "sorry" with 404."""


# ---- the data file ----


class Store:
    """The data file, and what else the program remembers between two requests; there is one, ``store``."""

    connection: sqlite3.Connection
    path: Path
    root = "/"
    """The address of the program's first page, which ends with a slash: not "/" where a server mounts it elsewhere."""
    notice = ""
    """A sentence that the next page shows once."""
    can_quit = False
    """Whether the program has the button that ends it: only when it was started as a program of its own."""
    is_open = False

    def open(self, path: Path) -> None:
        """Open the file, or create it with its folder.

        :raises StartupError: the file cannot be used; the text says why.
        """
        self.close()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            connection = sqlite3.connect(path)
        except FileExistsError:
            raise StartupError(f"datebook: {path.parent} is not a folder; name another file with --data") from None
        except (OSError, sqlite3.Error) as error:
            raise StartupError(f"datebook: cannot open {path}: {error}; name another file with --data") from error
        connection.row_factory = sqlite3.Row
        connection.create_function("casefold", 1, str.casefold, deterministic=True)  # "like" knows only A to Z
        try:
            connection.execute("pragma foreign_keys = on")
            (layout,) = connection.execute("pragma user_version").fetchone()
            if layout == 0:
                connection.executescript(f"begin; {SCHEMA} pragma user_version = {LAYOUT}; commit;")
            elif layout != LAYOUT:
                raise StartupError(f"datebook: {path} has layout {layout}, and this program knows only {LAYOUT}")
        except sqlite3.Error as error:
            connection.close()
            raise StartupError(f"datebook: cannot use {path}: {error}; name another file with --data") from error
        except StartupError:
            connection.close()
            raise
        self.connection, self.path, self.is_open = connection, path, True

    def close(self) -> None:
        """Close the file. Nothing happens when none is open."""
        if self.is_open:
            self.is_open = False
            self.connection.close()

    def rows(self, question: str, *values: object) -> list[dict[str, Any]]:
        """What a query finds, each row as a dictionary."""
        return [dict(row) for row in self.connection.execute(question, values)]

    def value(self, question: str, *values: object) -> Any:
        """The first column of the first row that a query finds."""
        return self.connection.execute(question, values).fetchone()[0]

    def record(self, table: str, number: int) -> dict[str, Any] | None:
        """One row of a table by its number, or None."""
        found = self.rows(f"select * from {table} where {table} = ?", number)
        return found[0] if found else None

    def insert(self, table: str, record: Mapping[str, Any]) -> int:
        """Add a row to a table; return its number. The caller commits."""
        names, marks = ", ".join(record), ", ".join("?" * len(record))
        cursor = self.connection.execute(f"insert into {table} ({names}) values ({marks})", list(record.values()))
        return int(cursor.lastrowid or 0)

    def update(self, table: str, number: int, version: int | None, record: Mapping[str, Any]) -> bool:
        """Change a row if it still has this version; return whether it had. The caller commits."""
        changes = ", ".join(f"{name} = ?" for name in record)
        cursor = self.connection.execute(
            f"update {table} set {changes}, version = version + 1 where {table} = ? and version = ?",
            [*record.values(), number, version],
        )
        return cursor.rowcount == 1


store = Store()
pages = Router()
templates = TemplateFolder(HERE / "templates")
pages.delegate_folder("/static/", StaticFolder(HERE / "static"))

# ---- pages ----


def long_day(day: str) -> str:
    """A day as a person writes it: ``Monday 30 November 2026``."""
    date = datetime.date.fromisoformat(day)
    return f"{date:%A} {date.day} {date:%B} {date.year}"


Template.REGISTRY[":longday"] = long_day  # {day:longday} in a template


def today() -> datetime.date:
    """The day that the pages call today."""
    return datetime.date.today()


def page(name: str, section: str = "", /, *, code: int = 200, **values: object) -> Response:
    """A template of the folder as a response.

    :param name: the template.
    :param section: which entry of the menu it belongs to.
    :param code: the status of the response.
    :param values: what the template shows.
    """
    menu: dict[str, object] = {f"at_{part}": None for part in ("today", "contact", "appointment", "task", "guard")}
    if section:
        menu[f"at_{section}"] = ' aria-current="page"'
    notice, store.notice = store.notice, ""
    message = templates("notice")(text=notice) if notice else None
    end = templates("quit_button")() if store.can_quit else None
    return Response(
        templates(name)(root=store.root, notice=message, quit_button=end, **{**menu, **values}),
        code=code,
    )


def go(where: str, notice: str = "") -> Response:
    """Send the browser to another page of the program after a form, with a sentence that it shows there."""
    store.notice = notice
    return Response.redirect(store.root + where, code=303)


def number(text: str) -> int:
    """The number of a record in an address."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Missing
    return int(text)


def leaf(day: str | None) -> object:
    """A day as a leaf of a calendar."""
    if day is None:
        return templates("leaf_none")()
    date = datetime.date.fromisoformat(day)
    kind = " today" if date == today() else " past" if date < today() else ""
    return templates("leaf")(day=day, kind=kind, name=f"{date:%a}", number=date.day, month=f"{date:%b}")


def avatar(contact: Mapping[str, Any]) -> object:
    """The photo of a contact, or the first letter of the name."""
    if contact["photo"] is not None:
        return templates("photo")(file=contact["photo"], name=contact["name"])
    return templates("initial")(colour=contact["contact"] % 6, letter=contact["name"][:1].upper())


CONTACTS = """
    select contact.*, (
        select file from file
        where file.contact = contact.contact and type like 'image/%' order by file desc limit 1
    ) as photo
    from contact
"""
EVERYTHING = " || char(10) || ".join(["name", "phone", "email", "address", "memo"])
APPOINTMENTS = "select appointment.*, name from appointment left join contact using (contact)"
TASKS = "select * from task"
ORDERS = {
    "due": "order by done, ifnull(due, '9999-99-99'), priority, title",
    "priority": "order by done, priority, ifnull(due, '9999-99-99'), title",
}


def agenda(appointments: Sequence[Mapping[str, Any]], empty: str) -> object:
    """A list of appointments; a leaf of the calendar stands beside the first of each day."""
    lines, previous = [], None
    for each in appointments:
        hours = " to ".join(hour for hour in (each["starts"], each["ends"]) if hour) or "all day"
        lines.append({**each, "hours": hours, "leaf": leaf(each["day"]) if each["day"] != previous else None})
        previous = each["day"]
    return templates("agenda").loop(lines, {"empty": empty})


def checklist(tasks: Sequence[Mapping[str, Any]], empty: str, back: str) -> object:
    """A list of tasks, each with a button that ticks it off.

    :param tasks: the rows.
    :param empty: the text in place of a list without tasks.
    :param back: the page that the button returns to.
    """
    lines = []
    for each in tasks:
        late = each["due"] is not None and each["due"] < today().isoformat() and not each["done"]
        lines.append(
            {
                **each,
                "kind": "done" if each["done"] else "late" if late else "open",
                "when": None if each["due"] is None else templates("due")(day=each["due"]),
                "label": PRIORITIES[each["priority"] - 1],
                "action": "Not done yet" if each["done"] else "Done",
            }
        )
    return templates("checklist").loop(lines, {"empty": empty, "back": back})


@pages.function("/")
def show_today() -> Response:
    """The first page: the appointments of the next week, and the tasks that are due."""
    first = today()
    last = first + datetime.timedelta(6)
    meetings = store.rows(
        f"{APPOINTMENTS} where day between ? and ? order by day, starts, title", f"{first}", f"{last}"
    )
    due = store.rows(f"{TASKS} where not done and ifnull(due, '') <= ? {ORDERS['due']}", f"{last}")
    days = [first + datetime.timedelta(more) for more in range(7)]
    week = templates("week").loop(
        {"leaf": leaf(f"{day}"), "day": f"{day}", "dots": ["\u25cf" for each in meetings if each["day"] == f"{day}"]}
        for day in days
    )
    is_empty = not store.value("select (select count(*) from contact) + (select count(*) from task)")
    return page(
        "today",
        "today",
        heading=f"{first:%A}, {first.day} {first:%B}",
        week=week,
        welcome=templates("welcome")() if is_empty else None,
        agenda=agenda(meetings, "Nothing is planned for the next seven days."),
        tasks=checklist(due, "No task is waiting.", ""),
    )


@pages.function("/contact/")
def list_contacts(q: str = "") -> Response:
    """The contacts, or those whose name, number, addresses or notes contain a text.

    :param q: the text, from the address of the page.
    """
    pattern = "%" + "".join("\\" + sign if sign in "%_\\" else sign for sign in q.strip().casefold()) + "%"
    found = store.rows(
        f"{CONTACTS} where casefold({EVERYTHING}) like ? escape '\\' order by name collate nocase",
        pattern,
    )
    lines = [{**each, "avatar": avatar(each), "line": each["phone"] or each["email"]} for each in found]
    empty = f"No contact contains \u201c{q}\u201d." if q.strip() else "There is no contact yet."
    count = f"{len(found)} contact" + "s" * (len(found) != 1)
    return page("contacts", "contact", q=q, count=count, list=templates("contact_list").loop(lines, {"empty": empty}))


@pages.function("/appointment/")
def list_appointments(when: str = "coming") -> Response:
    """The appointments from today on, or those before.

    :param when: ``coming`` or ``past``, from the address of the page.
    """
    past = when == "past"
    condition, order = ("<", "desc") if past else (">=", "asc")
    found = store.rows(f"{APPOINTMENTS} where day {condition} ? order by day {order}, starts, title", f"{today()}")
    return page(
        "appointments",
        "appointment",
        agenda=agenda(found, "No appointment is in the past." if past else "No appointment is coming up."),
        coming=None if past else ' aria-current="true"',
        past=' aria-current="true"' if past else None,
    )


@pages.function("/task/")
def list_tasks(order: str = "due") -> Response:
    """The tasks: the open ones first.

    :param order: what comes first among them, ``due`` or ``priority``, from the address of the page.
    """
    order = order if order in ORDERS else "due"
    marks: dict[str, Any] = {f"by_{each}": ' aria-current="true"' if each == order else None for each in ORDERS}
    found = store.rows(f"{TASKS} {ORDERS[order]}")
    return page("tasks", "task", tasks=checklist(found, "There is no task yet.", f"task/?order={order}"), **marks)


# ---- forms ----


class NumberLens(forms.Lens):
    """An integer, or None for an empty field."""

    def string_for_browser(self, n: Any) -> str:
        return "" if n is None else str(n)

    def native_from_string(self, s: str) -> Any:
        if not s:
            return None
        try:
            return number(s)
        except Missing:
            raise forms.ValidationError("is not a number.") from None


class ContactLens(forms.ChoiceLens):
    """The choice of a contact, by number, from those that exist when the form is shown."""

    def string_pairs(self) -> Iterator[tuple[str, str]]:
        for each in store.rows("select contact, name from contact order by name collate nocase"):
            yield str(each["contact"]), each["name"]

    def string_for_browser(self, n: Any) -> str:
        return "" if n is None else str(n)

    def native_from_string(self, s: str) -> Any:
        if s and s not in dict(self.string_pairs()):
            raise forms.ValidationError("That contact has been removed meanwhile.")
        return int(s) if s else None


PRIORITIES = ["High", "Medium", "Low"]
NAME = forms.Test(bool, error="Please fill this in.")
PHONE = forms.Test(r"[-+0-9 ()/.]*", error="A phone number has only digits, spaces and + - ( ) / .")
EMAIL = forms.Test(r"|[^@\s]+@[^@\s]+\.[^@\s.]+", error="This does not look like an e-mail address.")
TIME = forms.Nullable(forms.Test(r"|([01]\d|2[0-3]):[0-5]\d", error="A time looks like 09:30."))
MEMO = forms.Memo(lens=forms.BLANKABLE, id="memo", rows=4, maxlength=10_000)
VERSION = forms.Entry(lens=NumberLens(), type="hidden")


class RecordForm(forms.Formlet):
    """The form of one record of a table, new or existing; the three forms of the program derive from it.

    A form is sent back with the version that its record had when the form was shown. If the record has another version
    by then, another tab changed it: nothing is saved, and the page shows what was typed, what is saved now, and a
    button for each way out.
    """

    table: ClassVar[str]
    template: ClassVar[str]
    fields: ClassVar[Mapping[str, forms.FormElement]]
    labels: ClassVar[Mapping[str, str]]
    """The names of the fields for a person."""

    def __init__(self, record: str | None = None) -> None:
        super().__init__({**self.fields, "version": VERSION})
        self.number = None if record is None else number(record)
        self.saved = None if self.number is None else store.record(self.table, self.number)

    def blank(self) -> dict[str, Any]:
        """What the form of a new record begins with."""
        return {}

    def get_native(self) -> dict[str, Any]:
        if self.number is None:
            return self.blank()
        if self.saved is None:
            raise Missing
        return self.saved

    def display(self, fields: Mapping[str, object], errors: Mapping[str, str]) -> Response:
        messages: dict[str, object] = dict.fromkeys(f"{key}_error" for key in fields)
        for key, text in errors.items():
            messages[f"{key}_error"] = templates("field_error")(text=text)
        conflict = self.conflict() if "conflict" in errors else None
        summary = templates("form_error")() if errors and conflict is None else None
        return page(
            self.template,
            self.table,
            code=409 if conflict is not None else 422 if errors else 200,
            heading=self.heading(),
            problem=conflict if conflict is not None else summary,
            delete=self.delete_link(),
            more=self.more(),
            **fields,
            **{key: value for key, value in messages.items() if key != "conflict_error"},
        )

    def heading(self) -> str:
        """The title of the page."""
        return f"New {self.table}" if self.saved is None else str(self.saved.get("title") or self.saved.get("name"))

    def delete_link(self) -> object:
        """The link to the page that deletes the record."""
        return None if self.saved is None else templates("delete_link")(table=self.table, number=self.number)

    def more(self) -> object:
        """What the page shows below the form."""
        return None

    def conflict(self) -> object:
        """The note that another tab has changed or deleted the record, with what is saved now."""
        if self.saved is None:
            return templates("gone")(table=self.table)
        assert self.request is not None
        lines = []
        for key, label in self.labels.items():
            saved, typed = (
                " ".join(str(text).split())
                for text in (self.elements[key].n2i(self.saved[key]), self.request.POST.get(key, ""))
            )
            if saved != typed:
                lines.append({"label": label, "value": self.shown(key) or "(nothing)"})
        difference = templates("difference").loop(lines)
        return templates("changed")(
            table=self.table, number=self.number, version=self.saved["version"], difference=difference
        )

    def shown(self, key: str) -> str:
        """The saved value of a field as a person reads it: of a choice its label, not its number."""
        assert self.saved is not None
        element = self.elements[key]
        text = str(element.n2i(self.saved[key]))
        return dict(element.lens.string_pairs()).get(text, text) if isinstance(element, forms.Pick) else text

    def save(self, native: dict[str, Any], request: Request) -> Response:
        version = native.pop("version")
        record = {
            key: value.isoformat() if isinstance(value, datetime.date) else value for key, value in native.items()
        }
        overwrite = request.POST.get("overwrite", "")
        with store.connection:  # commits, or rolls back when an error leaves the block
            if self.number is None or (self.saved is None and overwrite == "new"):
                return self.after(store.insert(self.table, record))
            if overwrite.isdigit():  # the visitor has seen this newer version, and prefers what was typed
                version = number(overwrite)
            if self.saved is None or not store.update(self.table, self.number, version, record):
                raise forms.SaveError({"conflict": "Another tab has changed this record."})
        return self.after(self.number)

    def after(self, record: int) -> Response:
        """The response after the record was saved."""
        return go(f"{self.table}/", f"{self.table.capitalize()} saved.")


@pages.servlet("/contact/new")
@pages.servlet("/contact/*")
class ContactForm(RecordForm):
    """A contact; the page of an existing one has its files and its appointments, too."""

    table = "contact"
    template = "contact_form"
    fields: ClassVar = {
        "name": forms.Entry(lens=NAME, id="name", maxlength=200, autocomplete="off"),
        "phone": forms.Entry(lens=PHONE, id="phone", type="tel", maxlength=60, autocomplete="off"),
        "email": forms.Entry(lens=EMAIL, id="email", inputmode="email", maxlength=200, autocomplete="off"),
        "address": forms.Memo(lens=forms.BLANKABLE, id="address", rows=4, maxlength=2000),
        "memo": MEMO,
    }
    labels: ClassVar = {"name": "Name", "phone": "Phone", "email": "E-mail", "address": "Address", "memo": "Notes"}
    upload_error = ""

    def more(self) -> object:
        if self.saved is None:
            return None
        files = store.rows("select file, name, type, length(content) as size from file where contact = ?", self.number)
        for each in files:
            is_picture = each["type"].startswith("image/")
            each["size"] = f"{each['size'] / 1024:.1f} KiB"
            each["preview"] = templates("preview")(file=each["file"]) if is_picture else None
        meetings = store.rows(f"{APPOINTMENTS} where contact = ? and day >= ? order by day", self.number, f"{today()}")
        error = templates("field_error")(text=self.upload_error) if self.upload_error else None
        return templates("contact_more")(
            number=self.number,
            files=templates("file_list").loop(files),
            upload_error=error,
            agenda=agenda(meetings, "No appointment is coming up."),
        )

    def after(self, record: int) -> Response:
        return go(f"contact/{record}", "Contact saved.")


@pages.servlet("/contact/*/upload")
class Upload:
    """A photo or a document for a contact, from the form on its page."""

    def __init__(self, contact: str) -> None:
        self.contact = contact

    def do_POST(self, request: Request) -> Response:
        """Keep the file; without one, show the contact's page with a sentence."""
        form = ContactForm(self.contact)
        form.request = request
        upload = request.POST.get("file")
        if not isinstance(upload, FileUpload) or not upload.filename:
            form.upload_error = "Please choose a file first."
        elif len(upload.content) > MAX_UPLOAD:
            form.upload_error = f"The file is larger than {MAX_UPLOAD // 1024 // 1024} MiB."
        else:
            form.get_native()  # an error if the contact is gone
            name = upload.filename.replace("\\", "/").rpartition("/")[2]
            kinds = [kind for start, kind in PICTURES.items() if upload.content.startswith(start)]
            record = {
                "contact": form.number,
                "name": name,
                "type": kinds[0] if kinds else "application/octet-stream",
                "content": upload.content,
            }
            with store.connection:
                store.insert("file", record)
            return go(f"contact/{form.number}", f"{name} is kept with this contact.")
        response: Response = form.do_GET(request)
        response.code = 422
        return response


@pages.service("/file/*/")
class StoredFile:
    """A file of a contact: ``show`` for pictures on a page, ``download``, and ``delete``."""

    def __init__(self, file: str) -> None:
        found = store.record("file", number(file))
        if found is None:
            raise Missing
        self.file = found

    def do_GET_show(self, request: Request) -> Response:
        """The picture itself, which the browser may keep: a file never changes."""
        if not self.file["type"].startswith("image/"):
            raise Missing
        keep = {"content-type": self.file["type"], "cache-control": "private, max-age=31536000, immutable"}
        return Response(self.file["content"], headers=keep)

    def do_GET_download(self, request: Request) -> Response:
        """The file as a download. It is never shown as a page: a stranger's HTML could act in the visitor's name."""
        name = urllib.parse.quote(self.file["name"], safe="")
        fields = {
            "content-type": "application/octet-stream",
            "content-disposition": f"attachment; filename*=UTF-8''{name}",
        }
        return Response(self.file["content"], headers=fields)

    def do_POST_delete(self, request: Request) -> Response:
        """Delete the file."""
        with store.connection:
            store.connection.execute("delete from file where file = ?", [self.file["file"]])
        return go(f"contact/{self.file['contact']}", f"{self.file['name']} is deleted.")


@pages.servlet("/appointment/new")
@pages.servlet("/appointment/*")
class AppointmentForm(RecordForm):
    """An appointment, with or without a contact."""

    table = "appointment"
    template = "appointment_form"
    fields: ClassVar = {
        "title": forms.Entry(lens=NAME, id="title", maxlength=200, autocomplete="off"),
        "day": forms.Entry(lens=forms.DATE, id="day", type="date"),
        "starts": forms.Entry(lens=TIME, id="starts", type="time"),
        "ends": forms.Entry(lens=TIME, id="ends", type="time"),
        "contact": forms.Pick(ContactLens(), id="contact"),
        "memo": MEMO,
    }
    labels: ClassVar = {
        "title": "What", "day": "Day", "starts": "From", "ends": "Until", "contact": "With", "memo": "Notes",
    }  # fmt: skip

    def blank(self) -> dict[str, Any]:
        assert self.request is not None
        chosen = self.request.GET
        contact = chosen.get("contact", "")
        day = chosen.get("day") or today().isoformat()
        return {"day": day, "contact": number(contact) if contact else None}

    def semantic_checks(self, native: dict[str, Any], errors: dict[str, str]) -> None:
        if native["day"] is None:
            errors["day"] = "An appointment needs a day."
        elif self.number is None and native["day"] < today():
            errors["day"] = "This day is over."
        if native["ends"] and not native["starts"]:
            errors["starts"] = "When does it begin?"
        elif native["ends"] and native["ends"] <= native["starts"]:
            errors["ends"] = "It ends before it begins."


@pages.servlet("/task/new")
@pages.servlet("/task/*")
class TaskForm(RecordForm):
    """A task."""

    table = "task"
    template = "task_form"
    fields: ClassVar = {
        "title": forms.Entry(lens=NAME, id="title", maxlength=200, autocomplete="off"),
        "due": forms.Entry(lens=forms.DATE, id="due", type="date"),
        "priority": forms.Pick(forms.EnumLens(PRIORITIES, base=1), required="Please choose one.", id="priority"),
        "done": forms.Pick(forms.EnumLens(["No", "Yes"]), required="Please choose one.", id="done"),
        "memo": MEMO,
    }
    labels: ClassVar = {"title": "What", "due": "Due", "priority": "Priority", "done": "Done", "memo": "Notes"}

    def blank(self) -> dict[str, Any]:
        return {"priority": 2, "done": 0}


@pages.servlet("/task/*/done")
class TickOff:
    """The button beside a task."""

    def __init__(self, task: str) -> None:
        self.task = number(task)

    def do_POST(self, request: Request) -> Response:
        """Tick the task off, or on again."""
        with store.connection:
            store.connection.execute(
                "update task set done = not done, version = version + 1 where task = ?", [self.task]
            )
        back = request.POST.get("back", "")
        return go(back if back in ("", "task/?order=due", "task/?order=priority") else "task/")


@pages.servlet("/delete/*/*")
class Delete:
    """The page that deletes a record of any table, after a question."""

    def __init__(self, table: str, record: str) -> None:
        self.table, self.number = table, number(record)
        found = store.record(table, self.number) if table in ("contact", "appointment", "task") else None
        if found is None:
            raise Missing
        self.title = found.get("title") or found.get("name")

    def do_GET(self, request: Request) -> Response:
        """Ask."""
        return page("delete", self.table, table=self.table, number=self.number, name=self.title)

    def do_POST(self, request: Request) -> Response:
        """Delete the record."""
        with store.connection:
            store.connection.execute(f"delete from {self.table} where {self.table} = ?", [self.number])
        return go(f"{self.table}/", f"\u201c{self.title}\u201d is deleted.")


# ---- the safety net, the samples, the end ----


@pages.servlet("/guard")
class SafetyNet:
    """A page that shows what :class:`TransactionGuard` does with a handler that forgets to commit."""

    def do_GET(self, request: Request) -> Response:
        """The page, with how many tasks are saved."""
        return page("guard", "guard", count=store.value("select count(*) from task"))

    def do_POST(self, request: Request) -> Response:
        """Add a task, with or without the commit."""
        title = f"Written by the safety net, {datetime.datetime.now():%H:%M:%S}"
        store.insert("task", {"title": title, "due": None, "priority": 3, "done": 0, "memo": ""})
        if request.POST.get("how") == "commit":
            store.connection.commit()
        return go("guard", "The task is saved.")  # a lie without the commit: the guard sends an error in its place


@pages.servlet("/samples")
class Samples:
    """A few records for a datebook that is empty."""

    def do_POST(self, request: Request) -> Response:
        """Add them."""
        if store.value("select count(*) from contact"):
            return go("", "The datebook is not empty any more.")
        people = [
            ("Ada Brandt", "+49 30 5550 123", "ada@brandt.example", "Lindenweg 4\nBerlin", "Likes long walks."),
            ("Bo Castell", "+44 20 5550 188", "bo@castell.example", "", "Plays the cello on Thursdays."),
            ("Chiara Dolce", "", "chiara@dolce.example", "Via Roma 11\nTorino", ""),
            ("Noor El-Amin", "+31 20 555 0147", "", "", "Dentist"),
        ]
        meetings = [
            (0, "10:00", "11:00", "Coffee at the corner", 1), (1, "18:30", None, "Rehearsal", 2),
            (1, "08:15", "09:00", "Check-up", 4), (4, None, None, "Train to Torino", 3),
        ]  # fmt: skip
        tasks = [(0, 1, "Renew the passport"), (2, 2, "Buy strings for the cello"), (-1, 1, "Water the plants"),
                 (None, 3, "Sort the photos")]  # fmt: skip
        day = today()
        with store.connection:
            numbers = [store.insert("contact", dict(zip(ContactForm.fields, person, strict=True))) for person in people]
            for more, starts, ends, title, who in meetings:
                when = f"{day + datetime.timedelta(more)}"
                record = {"day": when, "starts": starts, "ends": ends, "title": title, "contact": numbers[who - 1]}
                store.insert("appointment", {**record, "memo": ""})
            for until, priority, title in tasks:
                due = None if until is None else f"{day + datetime.timedelta(until)}"
                store.insert("task", {"title": title, "due": due, "priority": priority, "done": 0, "memo": ""})
        return go("", "A few examples are in the datebook. Change or delete them as you like.")


@pages.servlet("/quit")
class Quit:
    """The button that ends the program."""

    def do_POST(self, request: Request) -> Response:
        """Say goodbye; ``serve_http`` returns when this page has been sent."""
        if not store.can_quit:
            raise Missing
        # The page has its style inside: the server is gone when the browser would ask for a file.
        policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
        return Response(templates("goodbye")(), headers={"content-security-policy": policy}, shut_down=True)


# ---- starting ----

FIELDS = {
    # The only script is the one with which serve_http learns that the last tab was closed (end_with="tab").
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Datebook:
    """The whole program as one handle: it calls the router, and gives every response the fields of ``FIELDS``."""

    def __call__(self, request: Request) -> Response:
        """Respond to one request."""
        if not store.is_open:  # the program is served by its name alone
            store.open(default_file())
        store.root = request.root_url([""])
        try:
            answer = TransactionGuard(pages, store.connection)(request)
        except Missing:
            answer = Response.generic(code=404)
        response = answer if isinstance(answer, Response) else Response(answer)
        if response.code in (404, 500):  # from the router or the guard: the same in the looks of this program
            store.notice = ""
            response = page("sorry" if response.code == 404 else "forgotten", code=response.code)
        for name, value in FIELDS.items():
            response.headers.setdefault(name, value)
        return response


app = Datebook()
"""What ``reserve app desk`` serves."""


def data_folder() -> Path:
    """The folder in which the system keeps the data of this user's programs."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    named = os.environ.get("XDG_DATA_HOME", "")
    return Path(named) if os.path.isabs(named) else Path.home() / ".local" / "share"


def default_file() -> Path:
    """The data file of a user who names none: that of the environment variable ``DATEBOOK_DATA``, or the usual one."""
    named = os.environ.get("DATEBOOK_DATA")
    return Path(named) if named else data_folder() / "datebook" / "datebook.sqlite3"


class Parser(argparse.ArgumentParser):
    """Command line arguments whose errors are a UsageError, which the command shows as one sentence."""

    def error(self, message: str) -> Any:
        raise UsageError(f"datebook: {message}")


def parser(name: str) -> Parser:
    """The arguments that both ways of starting take."""
    result = Parser(prog=name, description="A datebook for one person, as an example of reserve.desk.")
    result.add_argument("--data", type=Path, metavar="FILE", help=f"the SQLite file (default: {default_file()})")
    return result


def launch(args: Sequence[str]) -> Application:
    """Open the data file, or create it, and return the WSGI callable for the full server.

    :param args: the program text, then the datebook's own option: ``--data FILE``.
    :raises UsageError: there is another argument, or ``--data`` without a file.
    :raises StartupError: the file cannot be used; the text says why.
    """
    given = parser("datebook [--]").parse_args(list(args[1:]))
    store.open(given.data or default_file())
    store.can_quit = False
    return Application(app, max_body=MAX_BODY)


def main(arguments: Sequence[str]) -> int:
    """Run the datebook as a program of its own until its button ends it; return the exit code.

    :param arguments: the command line without the name of the program.
    """
    options = parser("python -m reserve.examples.datebook")
    options.add_argument("--port", type=int, default=8080, help="the port (default: 8080; 0: any free one)")
    options.add_argument("--no-browser", action="store_true", help="only serve, and open no browser")
    options.add_argument("--window", action="store_true", help="open a window without the browser's bars, if possible")
    options.add_argument("--private", action="store_true", help="refuse other programs and users of this machine")
    options.add_argument("--end-with-tab", action="store_true", help="end with the last tab, too")
    try:
        given = options.parse_args(list(arguments))
        store.open(given.data or default_file())
        store.can_quit = True
        print(f"datebook: the data is in {store.path}", file=sys.stderr, flush=True)
        serve_http(
            app,
            port=given.port,
            start=None if given.no_browser else "",
            window=given.window,
            private=given.private,
            end_with="tab" if given.end_with_tab else None,
            max_body=MAX_BODY,
        )
    except (UsageError, StartupError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        store.close()
    return 0

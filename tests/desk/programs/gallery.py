"""A folder of templates: files that extend another, loops with and without entries, and a wrapper for development."""

import pathlib
import sys

from reserve.desk import Router, Template, TemplateFolder, serve_http
from reserve.desk.implementation import TemplateLoop

tpl = TemplateFolder(pathlib.Path(__file__).parent / "gallery.tpl")
app = Router()
PICTURES = [{"name": "Sea & sand", "year": 1901, "by": "<Ann>"}, {"name": "Hill", "year": 1950, "by": None}]
inline = TemplateLoop("<ul class={kind}>", "<li>{name}</li>", "</ul>", Template("<p>no {kind}</p>"))


@app.function("/")
def index(since="0"):
    rows = [each for each in PICTURES if each["year"] >= int(since)]
    return tpl("index")(title="All", rows=tpl("rows").loop(iter(rows), {"unit": "AD"}), note="<note>")


@app.function("/one/*")
def one(number):
    return tpl("one").sub(dict(PICTURES[int(number)], title="One"))


@app.function("/inline")
def both():
    return [
        inline.loop([{"name": "x"}, {"name": "y<"}], {"kind": "full"}),
        inline.loop([], {"kind": "empty"}),
        TemplateLoop("[", "({n})", "]").loop({"n": n} for n in range(3)),
        TemplateLoop("[", "({n})", "]").loop(()),
    ]


@app.function("/assembled")
def assembled():
    page = Template("<h1>{title}</h1>{.body}<footer>{foot}</footer>")
    user = page.assembly(title="Hello, {user}", body="<p>{user}: {.extra}</p>")
    more = user.assembly(extra="<b>{user}</b>")
    return more(user="A&B", foot="end")


@app.function("/lists")
def lists():
    return Template("{.one} {two} {three}")(one=["<b>", 1, b"</b>"], two=7, three=None)


if __name__ == "__main__":
    serve_http(tpl.wrap(app), port=int(sys.argv[1]), start=None)

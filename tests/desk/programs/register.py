"""A form with every lens, a choice of one and of several, checks across fields, and an error while saving."""

import datetime
import sys

from reserve.desk import Response, Router, forms, implementation, serve_http

app = Router()
SAVED = []


class Shout(forms.Lens):
    def string_for_browser(self, n):
        return "" if n is None else n.lower()

    def native_from_string(self, s):
        if "!" in s:
            raise forms.ValidationError("do not shout")
        return s.upper()


class Colours(forms.ChoiceLens):
    def __init__(self):
        self.table = {"r": "Red & warm", "g": "Green", "b": 'Blue "cold"'}

    def string_pairs(self):
        return self.table.items()

    def string_for_browser(self, n):
        return "" if n is None else n[0].lower()

    def native_from_string(self, s):
        if s not in self.table:
            raise forms.ValidationError("no such colour")
        return self.table[s]


class Switch(forms.FormElement):
    def n2i(self, value):
        return "on" if value else ""

    def p2i(self, name, POST):
        return POST.get(name, "")

    def i2h(self, name, intermediate):
        checked = {"checked": None} if intermediate else {}
        return forms.tag("input", {"type": "checkbox", "name": name, **checked}, None)

    def i2n(self, intermediate):
        return bool(intermediate)


ELEMENTS = {
    "name": forms.Entry(maxlength=12, _class="wide"),
    "nick": forms.Entry(lens=forms.NULLABLE, placeholder='say "hi"'),
    "phone": forms.Entry(lens=forms.Test(r"[0-9 ]*", error="digits only")),
    "age": forms.Entry(lens=forms.Test(str.isdigit, child=forms.StringLens(), error="not a number"), type="number"),
    "motto": forms.Entry(lens=Shout()),
    "born": forms.Entry(type="date", lens=forms.DateLens()),
    "memo": forms.Memo(lens=forms.BLANKABLE, rows=3),
    "level": forms.Pick(forms.EnumLens(["Low", "Mid", "High"], base=1), required="choose a level"),
    "again": forms.Pick(forms.EnumLens(["No", "Yes"], reverse=True)),
    "team": forms.Pick(forms.ListLens(["North", "South <1>"])),
    "colours": forms.Pick(Colours(), multiple=True, size=3),
    "needed": forms.Pick(Colours(), required="at least one", multiple=True),
    "news": Switch(),
}


@app.servlet("/new")
@app.servlet("/edit/*")
class Register(forms.Formlet):
    def __init__(self, who=None):
        super().__init__(ELEMENTS)
        self.who = who

    def get_native(self):
        blank = {"colours": [], "needed": [], "level": 2}
        if self.who is None:
            return blank
        return {
            **blank,
            "name": self.who,
            "nick": None,
            "born": datetime.date(1999, 12, 31),
            "memo": "a\n</textarea>",
            "again": 1,
            "team": "South <1>",
            "colours": ["Red", "Blue"],
            "news": True,
            "motto": "Up",
        }

    def display(self, fields, errors):
        lines = [[key, ": ", html, "\n"] for key, html in fields.items()]
        wrong = [["error ", key, ": ", text, "\n"] for key, text in sorted(errors.items())]
        return Response(["<form>\n", lines, "</form>\n", wrong])

    def semantic_checks(self, native, errors):
        if native["born"] is not None and native["born"].year < 1900:
            errors["born"] = "too long ago"

    def save(self, native, request: implementation.Request) -> implementation.Response:
        if native["name"] == "taken":
            raise forms.SaveError({"name": "is taken"})
        shown = [
            f"{key}={sorted(value) if isinstance(value, set) else value!r}" for key, value in sorted(native.items())
        ]
        SAVED.append(shown)
        return Response.plain_text([[each, "\n"] for each in shown])


@app.function("/tag")
def tags():
    line = forms.tag("p", {"title": 'a "b" <c>', "hidden": None}, ["x", forms.tag("br", {}, None)])
    return [line, forms.tag("i", {}, "")]


if __name__ == "__main__":
    serve_http(app, port=int(sys.argv[1]), start=None)

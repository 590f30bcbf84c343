"""The lines of the keys of a TOML file, compared with what tomllib finds in it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from reserve.options.keylines import key_lines

TEXT = '''# [no] a comment
a = 1
"b\\u0041" = [1,  # ] }
 2, {x = 1, y = [{z = 2}]},
 3]
[server] # hi
threads = 8
s = """
[foo]
no = 1
""""
l = \'\'\'
x = 1\'\'\'
'q.r' . t = "\\\"]"
env.A = "x"
env.B.c = 1.5e3
[server.deep]
k = { z = { w = 1 }, v = 2 }
[[arr]]
m=1979-05-27T07:32:00Z
[[arr]]
n=1
'''


def paths(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key of a document."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, path)


def test_every_key_has_its_line() -> None:
    lines = key_lines(TEXT)
    assert set(lines) == {path for path in paths(tomllib.loads(TEXT)) if len(path) <= 4}
    assert {".".join(path): line for path, line in lines.items()} == {
        "a": 2, "bA": 3, "bA.x": 4, "bA.y": 4, "bA.y.z": 4, "server": 6, "server.threads": 7, "server.s": 8,
        "server.l": 12, "server.q.r": 14, "server.q.r.t": 14, "server.env": 15, "server.env.A": 15,
        "server.env.B": 16, "server.env.B.c": 16, "server.deep": 17, "server.deep.k": 18, "server.deep.k.z": 18,
        "server.deep.k.v": 18, "arr": 19, "arr.m": 20, "arr.n": 22,
    }  # fmt: skip


PIECES = [
    "a", "b", '"c"', "'d'", ".", "=", "[", "]", "{", "}", ",", "\n", " ", "# e\n", '"""', "\'\'\'", '"', "\\", "1",
    "x = 1\n", "[t]\n", "[[u]]\n", "y = {z = 1}\n", "v = [1,\n2]\n", 'w = """\n[n]\n"""\n',
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_it_finds_what_tomllib_finds(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(text)
    assert {path for path in paths(document) if len(path) <= 4} == set(lines)
    for path, line in lines.items():
        assert path[-1] in text.split("\n")[line - 1]


def test_the_time_is_proportional_to_the_size() -> None:
    for piece in ("[", "x = 1\n", '"', '"""', "a.", "x = {a=", "\\", "x = '''", "#"):
        key_lines(piece * 20_000)  # a quadratic scan runs into the timeout of the test

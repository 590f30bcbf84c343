"""The command with an application that uses gevent or eventlet: one sentence that ends in a line that works."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from reserve.cli.application import gunicorn_line
from tests.greenthreads import KINDS, PATCHES, prepare, run

COMMAND = "-m", "reserve", "app", "http", "wsgi", "site_:application", "--bind", "127.0.0.1:0"
APPLICATION = "def application(environ, start_response):\n    return []\n"


@pytest.mark.parametrize("after", [APPLICATION, "raise LookupError('a lock is another one')\n"], ids=["works", "fails"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_application_that_patches_ends_the_start_with_one_sentence(tmp_path: Path, kind: str, after: str) -> None:
    library = prepare(tmp_path, kind)
    tmp_path.joinpath("site_.py").write_text(f"{PATCHES[library]}\n{after}", "utf-8")
    code, out, err = run(tmp_path, *COMMAND)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith(f"reserve: {library} has replaced threads or sockets of this process (")
    if library == "gevent":
        command = "pip install gunicorn && gunicorn --worker-class gevent --bind 127.0.0.1:0 site_:application"
        assert line.endswith(f": remove that call, which costs nothing here because each request has a thread, or "
                             f"serve with gevent: {command}")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_patches_before_it_runs_the_command_gets_the_sentence(tmp_path: Path, kind: str) -> None:
    library = prepare(tmp_path, kind)
    program = f"{PATCHES[library]}\nimport sys\nfrom reserve.__main__ import main\nsys.exit(main())"
    code, out, err = run(tmp_path, "-c", program, "app", "echo", "--bind", "127.0.0.1:0")
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith(f"reserve: {library} has replaced threads or sockets of this process (")


def test_an_application_that_imports_gevent_and_does_not_patch_is_launched(tmp_path: Path) -> None:
    prepare(tmp_path, "fake gevent")
    tmp_path.joinpath("site_.py").write_text("import gevent.monkey\nraise LookupError('something else')\n", "utf-8")
    code, _, err = run(tmp_path, *COMMAND)
    assert code == 1
    assert "LookupError: something else" in err
    assert "has replaced" not in err


@pytest.mark.parametrize(
    ("before", "binds", "expected"),
    [
        (["wsgi", "shop"], (), ["127.0.0.1:8080", "shop"]),
        (["wsgi", "shop:create('a b')"], ("fd:3", ":8000"), [":8000", "shop:create('a b')"]),
        (["wsgi", "shop"], ("unix:/run/shop.sock",), ["unix:/run/shop.sock", "shop"]),
        (["wsgi", "--mount", "/=shop"], (), None),
        ([], (), None),
    ],
)
def test_the_line_serves_the_same_application_on_the_same_address(
    before: list[str], binds: tuple[str, ...], expected: list[str] | None
) -> None:
    line = gunicorn_line(before, binds)
    words = shlex.split(line.partition(" && ")[2])
    assert words == ([] if expected is None else ["gunicorn", "--worker-class", "gevent", "--bind", *expected])

"""``reserve.supervisor.watch``: what is watched, when a change is reported, and the program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reserve.supervisor import watch
from reserve.supervisor.watch import Notifications, Polling, Tree, changes, summary
from tests.cli.fakes import ROOT
from tests.waiting import PATIENCE, eventually


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(tree: Tree) -> list[str]:
    return sorted(map(tree.shown, tree.look()))


class Script:
    """A source whose waits run one step of a test after the other."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)

    def wait(self, tree: Tree, cost: float) -> None:
        self.steps.pop(0)()

    def over(self) -> bool:
        return not self.steps


def reported(tree: Tree, *steps: Callable[[], object], sleep: Callable[[float], object] = lambda seconds: None) -> list:
    script = Script(*steps, lambda: None)
    return [list(map(tree.shown, paths)) for paths in changes(tree, script, sleep=sleep, is_over=script.over)]


# ---- what is watched ----


def test_python_files_and_the_configuration_are_watched(home: Path) -> None:
    for name in ("a.py", "package/b.py", "reserve.toml", "pyproject.toml", "package/pyproject.toml", "a.txt", "c.pyc"):
        write(home / name)
    assert names(Tree([str(home)])) == ["a.py", "package/b.py", "pyproject.toml", "reserve.toml"]


@pytest.mark.parametrize("name", [".git", ".venv", "node_modules", "__pycache__", "site-packages", "dist-packages"])
def test_what_holds_no_code_of_the_user_is_skipped(home: Path, name: str) -> None:
    write(home / name / "a.py")
    write(home / "below" / name / "deep" / "a.py")
    assert names(Tree([str(home)])) == []


def test_a_virtual_environment_of_any_name_is_skipped(home: Path) -> None:
    write(home / "env" / "pyvenv.cfg")
    write(home / "env" / "lib" / "a.py")
    assert names(Tree([str(home)])) == []


def test_a_directory_that_is_named_is_watched_whatever_its_name(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "site-packages" / "a.py")
    assert names(Tree([str(home), str(tmp_path / "site-packages")])) == [str(tmp_path / "site-packages" / "a.py")]


def test_links_to_directories_are_not_followed_and_a_missing_directory_is_none(home: Path) -> None:
    write(home / "a.py")
    os.symlink(home, home / "again")
    os.symlink("nowhere", home / "dangling.py")
    assert names(Tree([str(home), str(home / "missing")])) == ["a.py"]


@pytest.mark.parametrize(
    ("pattern", "watched"),
    [
        ("*.html", ["pages/deep/b.html", "pages/a.html"]),
        ("pages/*.html", ["pages/deep/b.html", "pages/a.html"]),
        ("pages", ["pages/deep/b.html", "pages/a.css", "pages/a.html"]),
        ("pages/", ["pages/deep/b.html", "pages/a.css", "pages/a.html"]),
        ("pages/a.css", ["pages/a.css"]),
        ("../outside/*.json", ["{tmp}/outside/c.json"]),
        ("{tmp}/outside/*.json", ["{tmp}/outside/c.json"]),
        ("*.nothing", []),
    ],
)
def test_patterns_name_further_files(home: Path, tmp_path: Path, pattern: str, watched: list[str]) -> None:
    for name in ("pages/a.html", "pages/a.css", "pages/deep/b.html", ".cache/c.html", "../outside/c.json"):
        write(home / name)
    tree = Tree([str(home)], [pattern.format(tmp=tmp_path)])
    assert names(tree) == sorted(name.format(tmp=tmp_path) for name in watched)


def test_the_walk_is_bounded_and_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.py", "one/b.py", "one/two/c.py"):
        write(home / name)
    tree = Tree([str(home)])
    assert names(tree) == ["a.py", "one/b.py", "one/two/c.py"]
    assert tree.complete
    monkeypatch.setattr(watch, "MAX_DIRECTORIES", 2)
    assert names(tree) == ["a.py", "one/b.py"], "breadth first"
    assert not tree.complete
    monkeypatch.setattr(watch, "MAX_FILES", 1)
    assert names(tree) == ["a.py"]
    assert not tree.complete


def test_a_name_is_shown_in_printable_characters(home: Path) -> None:
    write(home / "a\n\x1b[1m.py")
    assert names(Tree([str(home)])) == ["a??[1m.py"]


# ---- when a change is reported ----


def test_changed_new_and_removed_files_are_reported_once(home: Path) -> None:
    write(home / "a.py")
    write(home / "b.py")

    def change() -> None:
        write(home / "a.py", "longer")
        (home / "b.py").unlink()
        write(home / "new" / "c.py")

    assert reported(Tree([str(home)]), lambda: None, change, lambda: None) == [["a.py", "b.py", "new/c.py"]]


def test_a_file_that_another_one_replaces_is_reported_although_time_and_size_are_equal(home: Path) -> None:
    path = write(home / "a.py")
    os.utime(path, (1, 1))

    def replace() -> None:
        os.utime(write(home / "new", "y"), (1, 1))
        os.replace(home / "new", path)

    assert reported(Tree([str(home)]), replace) == [["a.py"]]


def test_changes_in_quick_succession_are_one(home: Path) -> None:
    later = iter(("b.py", "c.py"))

    def sleep(seconds: float) -> None:
        if name := next(later, None):
            write(home / name)

    assert reported(Tree([str(home)]), lambda: write(home / "a.py"), sleep=sleep) == [["a.py", "b.py", "c.py"]]


def test_a_file_that_changes_all_the_time_is_reported_nevertheless(home: Path) -> None:
    count = iter(range(10_000))
    found = reported(
        Tree([str(home)]), lambda: write(home / "a.py"), sleep=lambda _: write(home / "a.py", "x" * next(count))
    )
    assert found == [["a.py"]]


def test_a_file_that_comes_and_goes_is_no_change(home: Path) -> None:
    assert (
        reported(
            Tree([str(home)]), lambda: write(home / "a.py"), sleep=lambda _: (home / "a.py").unlink(missing_ok=True)
        )
        == []
    )


def test_polling_takes_no_more_than_a_part_of_the_time(home: Path) -> None:
    slept: list[float] = []
    polling = Polling(slept.append)
    for cost in (0.001, 2.0):
        polling.wait(Tree([str(home)]), cost)
    assert slept == [0.3, 20.0]


def test_a_summary_is_one_line() -> None:
    assert [summary(["a"] * count) for count in (1, 2, 3, 12)] == ["a", "a and a", "a and 2 others", "a and 11 others"]


# ---- watchfiles ----


class FakeWatch:
    """``watchfiles.watch``: remembers what is watched, and yields what the test says."""

    def __init__(self, *results: object) -> None:
        self.results = list(results)
        self.calls: list[tuple[tuple[str, ...], dict]] = []

    def __call__(self, *paths: str, **options: object) -> Iterator[object]:
        self.calls.append((paths, options))
        while self.results:
            result = self.results.pop(0)
            if isinstance(result, Exception):
                raise result
            yield result


def test_each_directory_that_is_not_skipped_is_watched_alone(home: Path) -> None:
    write(home / "one" / "a.py")
    write(home / ".git" / "b.py")
    tree, fake = Tree([str(home)], ["*.html"]), FakeWatch(set(), set())
    tree.look()
    source = Notifications(fake, pytest.fail)
    source.wait(tree, 0.0)
    ((paths, options),) = fake.calls
    assert paths == (str(home), str(home / "one"))
    assert not options["recursive"]
    assert [options["watch_filter"](1, str(home / name)) for name in ("x.py", "x.html", "x.log", "one")] == [
        True, True, False, True,
    ]  # fmt: skip
    source.wait(tree, 0.0)
    assert len(fake.calls) == 1, "the same directories: the same watch"
    write(home / "two" / "c.py")
    tree.look()
    source.wait(tree, 0.0)
    assert fake.calls[1][0] == (str(home), str(home / "one"), str(home / "two"))


def test_when_the_system_cannot_watch_the_tree_is_polled(home: Path) -> None:
    warnings: list[str] = []
    slept: list[float] = []
    tree = Tree([str(home)])
    tree.look()
    source = Notifications(FakeWatch(OSError("no space left")), warnings.append, Polling(slept.append))
    source.wait(tree, 0.0)
    source.wait(tree, 0.0)
    assert warnings == ["the system cannot watch 1 directories, so --reload polls them: no space left"]
    assert slept == [0.3]


def test_a_directory_that_has_just_gone_is_no_failure(home: Path) -> None:
    gone = home / "gone"
    write(gone / "a.py")
    tree, fake = Tree([str(home)]), FakeWatch(FileNotFoundError(str(gone)), set())
    tree.look()
    (gone / "a.py").unlink()
    gone.rmdir()
    source = Notifications(fake, pytest.fail)
    source.wait(tree, 0.0)
    tree.look()
    source.wait(tree, 0.0)
    assert fake.calls[1][0] == (str(home),)


# ---- the program ----


@contextmanager
def program(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "reserve.supervisor.watch", *options, str(home)]
    with subprocess.Popen(
        argv, env=os.environ | {"PYTHONPATH": ROOT}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_change(process: subprocess.Popen[str], path: Path) -> str:
    """Write the file until the program, which needs a moment for its first look, reports it."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    lines: list[str] = []

    def has_line() -> bool:
        write(path, "x" * len(lines))
        lines.append(process.stdout.readline())  # type: ignore[union-attr]
        return lines[-1] != ""

    eventually(has_line)
    return lines[-1]


@pytest.mark.parametrize("options", [(), ("--poll",)])
def test_the_program_prints_what_has_changed_and_ends_when_nobody_reads_it(home: Path, options: tuple[str]) -> None:
    if not options:
        pytest.importorskip("watchfiles")
    with program(home, *options) as process:
        assert first_change(process, home / "blog.py") == "blog.py\n"
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_the_program_says_when_it_does_not_watch_everything(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(home / "a.py")
    write(home / "b.py")
    monkeypatch.setattr(watch, "MAX_FILES", 1)
    monkeypatch.setattr(watch, "changes", lambda *arguments, **options: iter(()))
    assert watch.main([str(home)]) == 0
    assert "--reload watches the first 1 files" in capfd.readouterr().err

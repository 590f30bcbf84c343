"""What a folder opens, and what it refuses: names, symbolic links, special files."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.gateways.folder import Folder, Listed


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "site-private").mkdir()
    (tmp_path / "site-private" / "x.txt").write_text("secret")
    site = tmp_path / "site"
    (site / "sub" / "deep").mkdir(parents=True)
    (site / "a.txt").write_text("a")
    (site / "sub" / "b.txt").write_text("b")
    (site / "sub" / "deep" / "c.txt").write_text("c")
    (site / ".hidden").write_text("secret")
    (site / ".git").mkdir()
    (site / ".git" / "config").write_text("secret")
    return site


def read(folder: Folder, *names: str) -> str | None:
    """The content of a file; None for a folder."""
    opened = folder.open(names)
    if opened is None:
        return None
    with opened.file as file:
        assert opened.info.st_ino == os.fstat(file.fileno()).st_ino
        return file.read().decode()


def refused(folder: Folder, *names: str) -> bool:
    try:
        content = read(folder, *names)
    except FileNotFoundError:
        return True
    assert content != "secret"
    return False


def test_files_and_folders(site: Path) -> None:
    folder = Folder(site)
    assert read(folder, "a.txt") == "a"
    assert read(folder, "sub", "b.txt") == "b"
    assert read(folder, "sub", "deep", "c.txt") == "c"
    assert read(folder, "sub") is None
    assert read(folder) is None
    for names in (("missing",), ("a.txt", "x"), ("sub", "missing", "x"), ("n" * 300,), ("x",) * 3000):
        assert refused(folder, *names)


@pytest.mark.parametrize(
    "names",
    [
        ("..", "secret.txt"),
        ("sub", "..", "..", "secret.txt"),
        ("../secret.txt",),
        ("sub/../../secret.txt",),
        ("sub/b.txt",),
        ("/etc/passwd",),
        ("", "etc", "passwd"),
        ("sub", "", "b.txt"),
        ("..\\secret.txt",),
        ("a.txt\0",),
        ("a.txt\0.html",),
        (".",),
        (".", "a.txt"),
        (".hidden",),
        (".git", "config"),
        ("\ud800",),
        ("..", "site-private", "x.txt"),
    ],
)
def test_names_that_lead_nowhere(site: Path, names: tuple[str, ...]) -> None:
    for outside in (False, True):
        assert refused(Folder(site, outside=outside), *names)


def test_other_names_can_be_hidden(site: Path) -> None:
    (site / "_private").write_text("secret")
    assert refused(Folder(site, hidden="._"), "_private")
    opened = Folder(site, hidden="").open([".hidden"])
    assert opened is not None
    opened.file.close()


def test_symbolic_links_inside(site: Path) -> None:
    (site / "link.txt").symlink_to("sub/b.txt")
    (site / "absolute.txt").symlink_to(site / "a.txt")
    (site / "folder").symlink_to("sub")
    (site / "sub" / "up").symlink_to("..")
    (site / "from-hidden").symlink_to(".hidden-data/x")
    (site / ".hidden-data").symlink_to(".release-1")
    (site / ".release-1").mkdir()
    (site / ".release-1" / "x").write_text("published")
    folder = Folder(site)
    assert read(folder, "link.txt") == "b"
    assert read(folder, "absolute.txt") == "a"
    assert read(folder, "folder", "deep", "c.txt") == "c"
    assert read(folder, "folder") is None
    assert read(folder, "sub", "up", "sub", "up", "a.txt") == "a"
    assert read(folder, "sub", "up") is None
    assert read(folder, "from-hidden") == "published"


def test_symbolic_links_out_of_the_folder(site: Path) -> None:
    (site / "file").symlink_to("../secret.txt")
    (site / "absolute").symlink_to(site.parent / "secret.txt")
    (site / "folder").symlink_to("..")
    (site / "neighbour").symlink_to(site.parent / "site-private")
    (site / "chain").symlink_to("folder/secret.txt")
    (site / "loop").symlink_to("loop")
    (site / "dangling").symlink_to("nothing")
    links = [
        ("file",), ("absolute",), ("folder",), ("folder", "secret.txt"), ("neighbour", "x.txt"), ("neighbour",),
        ("chain",), ("loop",), ("loop", "x"), ("dangling",),
    ]  # fmt: skip
    for names in links:
        assert refused(Folder(site), *names)
    told = Folder(site, outside=True)
    for names in (("file",), ("folder", "secret.txt"), ("neighbour", "x.txt"), ("chain",)):
        assert read(told, *names) == "secret"
    assert refused(told, "loop")


def test_the_folder_may_be_a_link_that_moves(site: Path) -> None:
    current = site.parent / "current"
    folder = Folder(current)
    assert refused(folder, "a.txt")
    current.symlink_to(site)
    assert read(folder, "a.txt") == "a"
    (site / "link").symlink_to(current / "a.txt")
    assert read(folder, "link") == "a"
    current.unlink()
    current.symlink_to(site / "sub")
    assert read(folder, "b.txt") == "b"


def test_a_link_that_takes_the_place_of_a_folder_after_the_check(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "link").symlink_to("sub")
    folder = Folder(site)
    resolve = folder._resolve

    def swap(names: tuple[str, ...]) -> list[str]:
        result = resolve(names)
        (site / "sub").rename(site / "old")
        (site / "sub").symlink_to(site.parent / "site-private")
        return result

    monkeypatch.setattr(folder, "_resolve", swap)
    (site / "sub" / "x.txt").write_text("public")
    assert refused(folder, "link", "x.txt")


def test_special_files_are_not_opened(site: Path, short_path: Path) -> None:
    os.mkfifo(site / "fifo")
    (site / "link-to-fifo").symlink_to("fifo")
    (site / "null").symlink_to("/dev/null")
    (site / "tty").symlink_to("/dev/tty")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_path / "s"))
        (short_path / "link").symlink_to("s")
        for outside in (False, True):
            assert refused(Folder(short_path, outside=outside), "s")
            assert refused(Folder(short_path, outside=outside), "link")
    for outside in (False, True):
        for name in ("fifo", "link-to-fifo", "null", "tty"):
            assert refused(Folder(site, outside=outside), name)
        assert refused(Folder(site, outside=outside), "fifo", "x")
    for name in ("null", "zero"):
        assert refused(Folder("/dev"), name)


def test_a_fifo_that_takes_the_place_of_a_file_meanwhile(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_stat = os.stat
    os.mkfifo(site / "fifo")

    def stat(path: str, **options: object) -> os.stat_result:
        return really_stat(site / "a.txt") if path == "fifo" else really_stat(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", stat)
    assert refused(Folder(site), "fifo")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_without_permission_there_is_nothing(site: Path) -> None:
    (site / "a.txt").chmod(0)
    (site / "sub").chmod(0)
    try:
        assert refused(Folder(site), "a.txt")
        assert refused(Folder(site), "sub", "b.txt")
    finally:
        (site / "sub").chmod(0o700)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM])
def test_a_server_that_cannot_open_anything_does_not_say_that_there_is_no_file(
    site: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*arguments: object, **options: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        Folder(site).open(["a.txt"])
    assert not isinstance(caught.value, FileNotFoundError)


def test_without_directory_descriptors(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.gateways.folder._HAS_DIR_FD", False)
    (site / "link").symlink_to("sub")
    (site / "out").symlink_to("..")
    folder = Folder(site)
    assert read(folder, "a.txt") == "a"
    assert read(folder, "link", "b.txt") == "b"
    assert read(folder, "link") is None
    assert refused(folder, "out", "secret.txt")
    assert [entry.name for entry in folder.entries([])] == ["a.txt", "link", "sub"]


def test_entries(site: Path) -> None:
    (site / "link").symlink_to("sub")
    (site / "out").symlink_to("../secret.txt")
    (site / "dangling").symlink_to("nothing")
    (site / "back\\slash").write_text("")
    os.mkfifo(site / "fifo")
    assert Folder(site).entries([]) == [Listed("a.txt", False), Listed("link", True), Listed("sub", True)]
    assert Folder(site, outside=True).entries([])[2] == Listed("out", False)
    assert Folder(site).entries(["link"]) == [Listed("b.txt", False), Listed("deep", True)]
    for names in (["a.txt"], ["missing"], [".git"], ["out"], [".."], ["fifo"]):
        with pytest.raises(FileNotFoundError):
            Folder(site).entries(names)


NAME = st.one_of(
    st.sampled_from(["..", ".", "", "sub", "a.txt", "out", "up", "secret.txt", "/", "\\", "\0"]), st.text(max_size=4)
)


@given(st.lists(NAME, max_size=6))
def test_no_path_gets_the_secret(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "hypothesis"
    site = root / "site"
    if not site.exists():
        (site / "sub").mkdir(parents=True)
        (root / "secret.txt").write_text("secret")
        (site / "a.txt").write_text("a")
        (site / "out").symlink_to("..")
        (site / "sub" / "up").symlink_to("..")
    try:
        content = read(Folder(site), *names)
    except FileNotFoundError:
        return
    assert content in (None, "a")

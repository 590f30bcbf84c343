"""Launching the blog: its arguments, the directory of its data, and the errors when that directory cannot be used."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from reserve.errors import StartupError, UsageError
from reserve.examples.blog import launch
from tests.waiting import PATIENCE


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"reserve-blog-{os.getuid()}"


def test_the_default_directory_is_private_and_named_on_stderr(temporary, capsys, blog_client):
    app = launch(["reserve http wsgi blog"])
    assert temporary.stat().st_mode & 0o777 == 0o700
    output = capsys.readouterr()
    assert output.err == (
        f"blog: posts and pictures are in {temporary}, which the system may empty; to keep them, add: -- --data DIR\n"
    )
    assert output.out == ""
    assert blog_client(app).get("/").status == 200


def test_the_directory_of_the_option_keeps_the_posts_and_needs_no_advice(tmp_path, capsys, blog_client):
    for _ in range(2):
        client = blog_client(launch(["reserve http wsgi blog", "--data", str(tmp_path / "kept")]))
        assert capsys.readouterr().err == f"blog: posts and pictures are in {tmp_path / 'kept'}\n"
        assert client.get("/").status == 200
    assert (tmp_path / "kept" / "blog.sqlite3").exists()


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_prints_the_option_and_opens_nothing(temporary, capsys, option):
    with pytest.raises(SystemExit) as caught:
        launch(["reserve http wsgi blog", option])
    assert caught.value.code == 0
    assert "--data DIR" in capsys.readouterr().out
    assert not temporary.exists()


def test_launch_works_without_any_argument(temporary):
    assert callable(launch([]))


def test_a_default_directory_that_other_users_can_enter_is_an_error(temporary):
    temporary.mkdir()
    temporary.chmod(0o777)
    with pytest.raises(StartupError, match=r"open to other users.*--data"):
        launch(["blog"])


def test_a_link_in_place_of_the_default_directory_is_not_followed(temporary, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    temporary.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartupError, match="a link or a file, not a directory"):
        launch(["blog"])
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_place_of_the_default_directory_is_an_error(temporary):
    temporary.write_text("")
    with pytest.raises(StartupError, match="--data"):
        launch(["blog"])


def test_missing_parents_are_created_and_the_last_option_wins(tmp_path):
    launch(["blog", "--data", str(tmp_path / "a"), f"--data={tmp_path / 'b' / 'c'}"])
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b" / "c" / "blog.sqlite3").exists()


def test_the_name_of_the_directory_may_have_any_characters(tmp_path, blog_client):
    app = launch(["blog", "--data", str(tmp_path / "ö ?#%41&x=1")])
    assert blog_client(app).get("/").status == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "80"], "unknown argument '--port'.*--data DIR"),
        (["here"], "unknown argument 'here'"),
        (["--data"], "--data needs a directory"),
        (["--data="], "--data needs a directory"),
        (["--data", ""], "--data needs a directory"),
        (["--data", "--data=x"], "--data needs a directory"),
        (["--data", "a\0b"], "NUL"),
    ],
)
def test_wrong_arguments_are_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message):
        launch(["blog", *options])


def test_a_file_in_place_of_the_data_directory_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="not a directory"):
        launch(["blog", "--data", str(tmp_path / "file")])
    with pytest.raises(StartupError, match="cannot create the directory"):
        launch(["blog", "--data", str(tmp_path / "file" / "below")])


def test_a_file_that_is_no_database_is_an_error_and_is_left_alone(tmp_path):
    (tmp_path / "blog.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(StartupError, match=r"cannot open .*blog\.sqlite3"):
        launch(["blog", "--data", str(tmp_path)])
    assert (tmp_path / "blog.sqlite3").read_bytes() == b"no database" * 100


def test_a_database_of_another_version_is_an_error(tmp_path):
    with closing(sqlite3.connect(tmp_path / "blog.sqlite3")) as database:
        database.execute("PRAGMA user_version = 7")
    with pytest.raises(StartupError, match="layout 7"):
        launch(["blog", "--data", str(tmp_path)])


def test_the_database_is_in_write_ahead_mode_and_no_temporary_file_remains(tmp_path: Path):
    launch(["blog", "--data", str(tmp_path)])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["blog.sqlite3", "pictures"]
    with closing(sqlite3.connect(tmp_path / "blog.sqlite3")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_launches_at_the_same_time_share_one_blog(tmp_path, blog_client):
    barrier = threading.Barrier(6)
    feeds: list[bytes] = []

    def start() -> None:
        barrier.wait(PATIENCE)
        feeds.append(blog_client(launch(["blog", "--data", str(tmp_path)])).get("/feed.xml").body)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(feeds) == 6
    assert len(set(feeds)) == 1

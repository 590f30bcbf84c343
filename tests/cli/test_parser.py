"""Parsing the command line: which arguments are server options, and what remains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.cli.parser import app_arguments, parse_command_line
from reserve.cli.proposal import corrected, shell_line
from reserve.errors import UsageError
from reserve.options.table import FLAGS


def test_options_are_taken_out_at_any_position_before_the_dashes() -> None:
    argv = ["--threads", "4", "app", "http", "-b:80", "wsgi", "blog", "-b", ":81", "--colour", "red", "--keep-alive=5"]
    command = parse_command_line([*argv, "--", "--threads", "9", "--", "-h"])
    assert command.arguments == ("app", "http", "wsgi", "blog", "--colour", "red")
    assert command.after == ("--threads", "9", "--", "-h")
    assert [(option.name, text) for option, text in command.given] == [
        ("threads", "4"), ("bind", ":80"), ("bind", ":81"), ("keep-alive", "5"),
    ]  # fmt: skip
    assert app_arguments(command) == ("http", ("wsgi", "blog", "--colour", "red"))
    assert not command.help


_ARGUMENTS = st.sampled_from(
    ["app", "http", "blog", "-x", "--colour", "--thread", "-", "a=b", "", "-hello", "--helpless"]
)
_OPTIONS = st.sampled_from([["--threads", "4"], ["--threads=4"], ["-b:80"], ["-b", ":80"], ["--no-access-log"], ["-h"]])


@given(
    st.lists(st.one_of(_ARGUMENTS.map(lambda argument: [argument]), _OPTIONS)),
    st.lists(st.one_of(_ARGUMENTS, st.just("--"))),
)
def test_the_remaining_arguments_keep_their_order(parts: list[list[str]], after: list[str]) -> None:
    command = parse_command_line([argument for part in parts for argument in part] + ["--", *after])
    options = [part for part in parts if part[0].partition("=")[0] in FLAGS or part[0] == "-b:80"]
    assert list(command.arguments) == [part[0] for part in parts if part not in options]
    assert list(command.after) == after
    assert command.help == (["-h"] in options)
    assert len(command.given) == len([part for part in options if part != ["-h"]])


def test_there_are_no_abbreviations() -> None:
    assert parse_command_line(["--thread", "4"]).arguments == ("--thread", "4")
    with pytest.raises(UsageError, match=r"no server option --thread; did you mean --threads"):
        app_arguments(parse_command_line(["--thread", "4", "app", "http"]))


@pytest.mark.parametrize(
    "argv", [["--threads"], ["--threads", "--"], ["--threads", "--bind", ":80"], ["-b"], ["-b", "-h"]]
)
def test_an_option_without_its_value_is_refused(argv: list[str]) -> None:
    with pytest.raises(UsageError, match=r"needs a value: "):
        parse_command_line(argv)


def test_a_flag_with_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--access-log takes no value.*write --access-log or --no-access-log"):
        parse_command_line(["--access-log=yes"])


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["http", "wsgi", "blog", "--threads", "16"], "reserve app http wsgi blog --threads 16"),
        (["--threads", "4", "a b"], "reserve --threads 4 app http wsgi 'a b'"),
        ([], "reserve app http wsgi blog"),
        (["--threads", "4"], "reserve --threads 4 app http wsgi blog"),
        (["--", "app", "x"], "reserve app http wsgi blog -- app x"),
    ],
)
def test_without_the_word_app_the_error_has_the_right_line(argv: list[str], expected: str) -> None:
    command = parse_command_line(argv)
    with pytest.raises(UsageError) as caught:
        app_arguments(command)
    assert caught.value.correction is not None
    assert shell_line(corrected(command.argv, command.positions, caught.value.correction)) == expected


def test_without_a_name_the_message_says_so() -> None:
    with pytest.raises(UsageError, match=r"the application's name is missing"):
        app_arguments(parse_command_line(["app"]))
    with pytest.raises(UsageError, match=r"no server option --foo; reserve --help-all"):
        app_arguments(parse_command_line(["app", "--foo", "http"]))

"""The argument of ``launch``: the list, and what it refuses."""

from __future__ import annotations

import pytest

from reserve.loader.arguments import Arguments, nearest_flag
from tests.loader.arguments import FLAGS, arguments


def test_arguments_before_and_after_the_dashes_are_kept_apart() -> None:
    args = arguments("a", "b", after=("--", "c"))
    assert args == ["reserve x", "a", "b", "--", "c"]
    assert (args.before, args.after) == (["a", "b"], ["--", "c"])
    inner = args.derive("blog", args.before[1:], args.after, reserved=["--mount"])
    assert inner == ["reserve x blog", "b", "--", "c"]
    assert (inner.before, inner.after, inner.reserved) == (["b"], ["--", "c"], (*FLAGS, "--mount"))
    inner.served.append("blog")
    assert args.served == ["blog"]


def test_a_plain_list_counts_as_before_the_dashes() -> None:
    args = Arguments.of(["reserve x", "a"])
    assert (args.before, args.after) == (["a"], [])
    assert Arguments.of(args) is args


@pytest.mark.parametrize(
    ("argument", "flag"),
    [
        ("--thread", "--threads"), ("--thread=4", "--threads"), ("-threads", "--threads"), ("--Threads", "--threads"),
        ("--keep_alive", "--keep-alive"), ("--keepalive", "--keep-alive"), ("--maxbody", "--max-body"),
        ("--accesslog", "--access-log"), ("--binds", "--bind"), ("--port", None), ("--verbose", None), ("-x", None),
        ("-5", None), ("--", None), ("-", None), ("--backup", None), ("--name", None), ("--end", None),
    ],
)  # fmt: skip
def test_the_flag_that_an_argument_resembles_is_found(argument: str, flag: str | None) -> None:
    assert nearest_flag(argument, FLAGS) == flag

"""The words of ``reserve top``."""

from __future__ import annotations

import pytest

from reserve.control.top.arguments import Settings, parse
from reserve.errors import UsageError


def test_every_word_has_its_effect() -> None:
    words = ["--interval", "0.5", "--once", "--json", "--sort=client", "--filter", "GET /slow"]
    assert parse(words) == Settings(interval=0.5, once=True, json=True, sort="client", filter="GET /slow")
    assert parse([]) == Settings()
    assert parse(["--interval=2s"]).interval == 2.0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sort", "cpu"], "'cpu'; allowed are time, process"),
        (["--sort"], "--sort of reserve top needs a value"),
        (["--interval", "0"], "'0'; allowed are seconds from 0.2 to 3600"),
        (["--interval", "nan"], "'nan'; allowed are"),
        (["--interval", "soon"], "'soon'; allowed are"),
        (["--json"], "write --once --json"),
        (["--onec"], "did you mean --once"),
        (["now"], "it has --interval"),
    ],
)
def test_a_wrong_word_is_refused(words: list[str], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words)
    assert expected in f"{caught.value}{caught.value.hint if hasattr(caught.value, 'hint') else ''}"

"""The examples of the page about the environ run, section by section, and the page names each callable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.testing import MemoryClient
from tests.apps.http.doubles import Recorder
from tests.apps.http.responses import request

PAGE = Path(reserve.__file__).parent / "docs" / "environ.md"
TEXT = PAGE.read_text("utf-8")
README = Path(reserve.__file__).parent.parent / "README.md"
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("title", list(SECTIONS))
def test_the_examples_run(title: str) -> None:
    (match,) = BLOCK.finditer(SECTIONS[title])
    assert "assert" in match[1]
    line = TEXT[: TEXT.index(SECTIONS[title]) + match.start(1)].count("\n")
    names: dict[str, Any] = {"__name__": "environ_page"}
    exec(compile("\n" * line + match[1], str(PAGE), "exec"), names)


def test_the_readme_names_every_key_of_reserve_in_the_environ() -> None:
    app = Recorder()
    MemoryClient(app).send(request())
    keys = [key for key in app.environs[0] if key.startswith("reserve.") or key == "wsgi.early_hints"]
    assert len(keys) == 6
    text = README.read_text("utf-8")
    assert [key for key in keys if f"`{key}`" not in text] == []

"""``reserve.keywords``, the types of the options in programs, is made from the table of options."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

import reserve
from reserve import keywords
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.settings import EngineSettings
from reserve.options.keywords import keywords_module
from reserve.options.table import OPTIONS, Option
from reserve.paramtypes import Choice, Count, Flag, Kind, Range, Seconds, Size, Text
from reserve.protocol.http1.limits import Limits
from reserve.ssl.settings import TLSSettings
from tests.waiting import PATIENCE

ROOT = Path(reserve.__file__).parent.parent
TYPES: dict[type[Kind], object] = {Count: int, Range: int | tuple[int, int], Size: int, Seconds: float, Flag: bool}


def test_the_committed_module_is_up_to_date() -> None:
    source = (ROOT / "reserve" / "keywords.py").read_text("utf-8")
    assert source == keywords_module(), "run: python -m reserve.options keywords > reserve/keywords.py"


def test_the_command_prints_the_module_and_knows_nothing_else() -> None:
    command = [sys.executable, "-m", "reserve.options"]
    done = subprocess.run([*command, "keywords"], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, keywords_module(), "")
    wrong = subprocess.run([*command, "keyword"], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("usage: ")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.home], ids=lambda option: option.name)
def test_the_type_of_a_field_fits_the_kind_of_its_option(option: Option) -> None:
    assert option.home is not None
    found = get_type_hints(option.home)[option.setting]
    if isinstance(option.kind, Choice):
        assert (get_origin(found), get_args(found)) == (Literal, option.kind.choices)
    elif option.repeat:
        assert found == tuple[str, ...]
    elif isinstance(option.kind, Text):
        assert found == (str if option.default is not None else str | None)
    else:
        assert found == TYPES[type(option.kind)]


def test_each_class_has_the_fields_of_its_settings() -> None:
    engine, http, limits, tls = (
        {field.name for field in fields(one)} for one in (EngineSettings, HTTPSettings, Limits, TLSSettings)
    )
    assert set(get_type_hints(keywords.ServerOptions)) == engine
    assert set(get_type_hints(keywords.WSGIServerOptions)) == (engine - {"threads"}) | (http - {"limits"}) | limits
    assert set(get_type_hints(keywords.TLSOptions)) == tls
    assert not keywords.WSGIServerOptions.__required_keys__

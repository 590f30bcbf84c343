"""The JSON Schema of the files: it accepts what the server accepts. The check here knows the keywords that it uses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from reserve.errors import UsageError
from reserve.options.filevalues import file_value, toml_text
from reserve.options.schema import DIALECT, file_schema
from reserve.options.sources import read_file
from reserve.options.table import FILE, OPTIONS, usual_value

SCHEMA = file_schema()
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "integer": (int,),
    "number": (int, float),
}  # fmt: skip
_KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "default", "type", "enum", "anyOf", "properties", "items",
    "additionalProperties", "propertyNames", "minimum", "maximum", "pattern", "minLength",
}  # fmt: skip


def resolved(reference: str) -> dict[str, Any]:
    found: Any = SCHEMA
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found  # type: ignore[no-any-return]


def fits(value: object, schema: dict[str, Any]) -> bool:
    """Whether a value is valid (JSON Schema 2020-12, the keywords above)."""
    assert set(schema) <= _KNOWN
    if "$ref" in schema and not fits(value, resolved(schema["$ref"])):
        return False
    if "type" in schema:
        types = _TYPES[schema["type"]]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "anyOf" in schema and not any(fits(value, one) for one in schema["anyOf"]):
        return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, str):
        return len(value) >= schema.get("minLength", 0) and bool(re.search(schema.get("pattern", ""), value))
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        for key, item in value.items():
            one = properties.get(key, more)
            if one is False or not fits(item, one) or not fits(key, schema.get("propertyNames", {})):
                return False
    return True


def test_every_option_of_a_file_is_in_the_schema_with_both_names_and_a_valid_default() -> None:
    assert SCHEMA["$schema"] == DIALECT
    properties = SCHEMA["$defs"]["options"]["properties"]
    options = [option for option in OPTIONS if FILE in option.sources]
    assert set(properties) == {name for option in options for name in (option.name, option.field)}
    for option in options:
        schema = properties[option.name]
        assert option.help in schema["description"]
        assert ("default" in schema) == (option.default is not None)
        assert "default" not in schema or fits(schema["default"], schema)
        if usual_value(option) and option.kind.unit != "on or off":
            assert fits(usual_value(option), schema), option.name


@pytest.mark.parametrize(
    "line",
    [
        "threads = 4", "threads = '4'", "threads = '2:8'", "threads = 0", "threads = 5000", "threads = true",
        "threads = 1.5", "threads = 'x'", "thread = 4", "head-timeout = 1", "head_timeout = 1.5", "head-timeout = '2m'",
        "head-timeout = '2 m'", "head-timeout = -1", "max-head = '16k'", "max-head = '16K'", "max-head = '16q'",
        "max-head = 20000", "access-log = true", "access-log = 'true'", "access-log = 1", "expect = 'app'",
        "expect = 'me'", "unix-mode = '0o660'", "unix-mode = '66'", "unix-mode = 660", "bind = ':80'", "bind = [':80']",
        "bind = [80]", "bind = []", "env = {A = 'b'}", "env = {A = 1}", "env = ['A=b']", "env = ['A']", "env = 'A=b'",
        "env = {'' = 'x'}", "open-files = 'keep'", "open-files = 64", "open-files = 'kept'", "help = true",
        "config = 'x'", "server-header = ''", "server-header = 5", "tls-cert = 'x'", "redirect-port = 443",
        "redirect-port = 0",
    ],
)  # fmt: skip
def test_the_schema_accepts_what_the_server_accepts(tmp_path: Path, line: str) -> None:
    path = tmp_path / "reserve.toml"
    path.write_text(f"[server]\n{line}\n")
    try:
        read_file(str(path))
    except UsageError:
        is_valid = False
    else:
        is_valid = True
    assert fits(tomllib.loads(path.read_text()), SCHEMA) == is_valid


def test_other_tables_are_refused() -> None:
    assert fits({}, SCHEMA)
    assert fits({"server": {}}, SCHEMA)
    assert not fits({"serve": {}}, SCHEMA)
    assert not fits({"server": 4}, SCHEMA)


@pytest.mark.parametrize("value", ["", 'a"b\\', "\x7f\x00\x1f\n\t\u2028", "ü€😀", 1, 1.5, 1e-07, True, ["a", 1], []])
def test_the_text_of_a_toml_value_is_read_as_the_same_value(value: object) -> None:
    assert tomllib.loads(f"x = {toml_text(value)}")["x"] == value


@pytest.mark.parametrize("option", [option for option in OPTIONS if FILE in option.sources], ids=lambda one: one.name)
def test_a_value_survives_the_way_through_a_file(tmp_path: Path, option: Any) -> None:
    text = usual_value(option)
    if not text or option.name == "env":
        return
    value = option.kind.parse(text) if not option.repeat else (option.kind.parse(text),)
    path = tmp_path / "reserve.toml"
    path.write_text(f"[server]\n{option.name} = {toml_text(file_value(option, value))}\n")
    (read,) = read_file(str(path))
    assert read.value == value

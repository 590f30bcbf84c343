"""The table of options: one row for each field of the settings classes."""

from __future__ import annotations

import dataclasses

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.settings import EngineSettings
from reserve.options.table import COMMAND, FILE, FLAGS, OPTIONS, Option
from reserve.protocol.http1.limits import Limits
from reserve.sockets.listeners import BACKLOG
from reserve.ssl.settings import TLSSettings

NO_OPTIONS = {
    "limits",  # a settings class of its own
    "protocols",  # the application sets it
}


@pytest.mark.parametrize("home", [EngineSettings, HTTPSettings, Limits, TLSSettings])
def test_every_field_of_a_settings_class_is_exactly_one_option(home: type) -> None:
    fields = {field.name: field for field in dataclasses.fields(home) if field.name not in NO_OPTIONS}
    rows = [option for option in OPTIONS if option.home is home]
    assert sorted(option.setting for option in rows) == sorted(fields)
    assert all(option.default == fields[option.setting].default for option in rows)


def test_every_name_is_unique() -> None:
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert len(flags) == len(set(flags)) == len(FLAGS)
    assert len({option.variable for option in OPTIONS}) == len(OPTIONS)


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.home], ids=lambda option: option.name)
def test_every_default_is_within_its_own_range(option: Option) -> None:
    if option.repeat:
        assert option.default == ()
    elif option.default is not None:
        assert option.kind.parse(option.kind.format(option.default)) == option.default


def test_every_option_can_be_set_on_the_command_line_and_most_in_the_file() -> None:
    for option in OPTIONS:
        assert COMMAND in option.sources
        assert (FILE in option.sources) == (option.name not in ("config", "version", "help", "help-all")), option.name


def test_the_default_of_the_backlog_is_that_of_listen() -> None:
    assert FLAGS["--backlog"].default == BACKLOG

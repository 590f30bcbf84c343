"""The names that programs import."""

from __future__ import annotations

import pytest

from tests.extras import library

library("markupsafe")
library("python_multipart")
library("itsdangerous")

import reserve.desk  # noqa: E402
import reserve.desk.implementation  # noqa: E402


@pytest.mark.parametrize("name", sorted(reserve.desk.__all__))
def test_the_module_of_all_names_has_the_public_ones(name: str) -> None:
    assert getattr(reserve.desk.implementation, name) is getattr(reserve.desk, name)
    assert name in reserve.desk.implementation.__all__


@pytest.mark.parametrize("name", ["Bag", "ProtocolError", "AbstractTemplate", "SubAssembly"])
def test_and_those_that_programs_took_from_it(name: str) -> None:
    assert hasattr(reserve.desk.implementation, name)


def test_a_star_takes_no_module_of_the_programs_own() -> None:
    names = {"forms": "mine", "implementation": "mine"}
    exec("from reserve.desk import *", names)
    assert (names["forms"], names["implementation"]) == ("mine", "mine")
    assert names["Router"] is reserve.desk.Router
    assert reserve.desk.forms.Entry is not None

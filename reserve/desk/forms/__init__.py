"""Forms: pages that create and change records, with fields, checks and messages.

A program derives from :class:`Formlet` for each kind of record, and gives it elements (:class:`Entry`, :class:`Memo`,
:class:`Pick`), each with a lens that turns text into a value and checks it (:class:`Test`, :data:`DATE`,
:class:`EnumLens`).
"""

from reserve.desk.forms.elements import Entry, FormElement, Memo, Pick, option
from reserve.desk.forms.formlet import Formlet, SaveError
from reserve.desk.forms.lenses import (
    BLANKABLE,
    DATE,
    NULLABLE,
    TYPICAL,
    ChoiceLens,
    DateLens,
    EnumLens,
    Lens,
    ListLens,
    Nullable,
    StringLens,
    Test,
    ValidationError,
)
from reserve.desk.forms.tag import tag

__all__ = [
    "BLANKABLE",
    "DATE",
    "NULLABLE",
    "TYPICAL",
    "ChoiceLens",
    "DateLens",
    "Entry",
    "EnumLens",
    "FormElement",
    "Formlet",
    "Lens",
    "ListLens",
    "Memo",
    "Nullable",
    "Pick",
    "SaveError",
    "StringLens",
    "Test",
    "ValidationError",
    "option",
    "tag",
]

"""A toolkit for web applications on localhost, instead of desktop programs: one user, one thread, SQLite-friendly."""

from reserve.desk.templatefolder import TemplateFolder
from reserve.desk.templates import Template, TemplateLoop

__all__ = [
    "Template",
    "TemplateFolder",
    "TemplateLoop",
]

"""The fixture ``project`` for the tests of this folder."""

from tests.projects import project as project

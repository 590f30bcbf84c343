"""Tests of the worker processes and of their supervisor."""

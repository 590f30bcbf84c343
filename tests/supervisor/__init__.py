"""Tests of the supervisor: its policy with fake processes, and its parts."""

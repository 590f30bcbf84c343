"""Measurements of whole servers, side by side. See README.md in this folder."""

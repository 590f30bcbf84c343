"""Servers with the names and the parameters of others, for programs that were written for those."""

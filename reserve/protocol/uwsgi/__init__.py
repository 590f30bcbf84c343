"""The uwsgi protocol (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html), as web servers speak it."""

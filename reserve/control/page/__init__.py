"""The status page: what a server does at this moment, for a browser (``--status-path``)."""

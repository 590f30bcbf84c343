"""``reserve top``: a live view of a running server in a terminal, over its control socket."""

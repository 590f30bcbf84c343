"""Files of folders (``--static``): which folders there are, and the response to a request for a file."""

"""Hold a request until the test opens the other end of a FIFO, because opening a FIFO waits for the other end."""

import os
import sys


def launch(args):
    gate = args[1]

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/wait":
            with open(gate, "rb") as file:
                content = file.read()
        else:
            content = b"at once"
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
        return [content]

    print("launched with", *args, file=sys.stderr)
    assert os.path.exists(gate)
    return application

"""An application that forks, and stops the child process with SIGTERM, which would also stop the server."""

import os
import signal


def application(environ, start_response):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"alive")
        signal.pause()
        os._exit(3)
    os.read(reader, 5)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)).encode()]

"""An application for the first version of reserve: a binary protocol in which the client sends first and shuts down."""

import struct

client_speaks_first = True


def launch(args):
    (program,) = args
    assert program == "reserve seed_counter", program
    return handle


def handle(socket, client_address, server):
    reader = socket.makefile("rb")
    writer = socket.makefile("wb")
    while head := reader.read(4):
        (length,) = struct.unpack("!I", head)
        body = reader.read(length)
        writer.write(struct.pack("!II", length, sum(body)))
        writer.flush()

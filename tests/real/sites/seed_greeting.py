"""An application for the first version of reserve: a protocol of lines in which the server sends first."""


def launch(args):
    greeting = " ".join(args[1:]) or "welcome"

    def handle(socket, client_address, server):
        with (
            socket.makefile("r", encoding="utf-8", newline="\r\n") as reader,
            socket.makefile("w", encoding="utf-8", newline="\r\n") as writer,
        ):
            print(f"{greeting}, {client_address[0]}", file=writer, flush=True)
            for line in reader:
                if line.strip() == "quit":
                    print("goodbye", file=writer, flush=True)
                    break
                print(f"you said {line.strip()}", file=writer, flush=True)

    return handle

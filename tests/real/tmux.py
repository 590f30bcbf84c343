"""A terminal for the tests: a program in tmux, its screen as text, its keys, its size."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType

from tests.real.processes import clean_environ, run
from tests.waiting import eventually


class Terminal:
    """A tmux of its own with one shell, which runs while the ``with`` block runs. The thread of the test owns it.

    :param tmux: the path of the program.
    :param folder: for its socket, with a short name; also the working directory of the shell.
    :param environ: variables of the shell in addition.
    """

    def __init__(self, tmux: str, folder: Path, columns: int = 80, lines: int = 24, **environ: str) -> None:
        self.folder = folder
        self._command = [tmux, "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._size = ("-x", str(columns), "-y", str(lines))
        variables = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "NO_COLOR": "", "ENV": "", **environ}
        self._environ = clean_environ(**variables)

    def __enter__(self) -> Terminal:
        command = [*self._command, "new-session", "-d", *self._size, "-c", str(self.folder), "exec sh -i"]
        subprocess.run(command, env=self._environ, check=True)
        eventually(lambda: self.screen().strip())  # the prompt
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call("kill-server")

    def type(self, text: str) -> None:
        """Type a line and press Enter."""
        self._call("send-keys", "-l", text)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys, by their names in tmux: ``q``, ``Down``, ``C-z``."""
        self._call("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window."""
        self._call("resize-window", "-x", str(columns), "-y", str(lines))

    def screen(self) -> str:
        """The lines of the screen, without the spaces at their ends."""
        return self._call("capture-pane", "-p")

    def styled(self) -> str:
        """The whole lines, with the sequences of their colours."""
        return self._call("capture-pane", "-p", "-e", "-N")

    def wait_for(self, *texts: str) -> str:
        """Wait until all these texts are on the screen at once, and return it."""
        seen = ""

        def is_there() -> bool:
            nonlocal seen
            seen = self.screen()
            return all(text in seen for text in texts)

        try:
            eventually(is_there)
        except AssertionError:
            raise AssertionError(f"{texts} are not on the screen:\n{seen}") from None
        return seen

    def _call(self, *arguments: str) -> str:
        result = run([*self._command, *arguments], env=self._environ, text=True)
        assert result.returncode == 0, result.stderr
        return str(result.stdout)

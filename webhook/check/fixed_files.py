"""What is done with a fixed file: it is written, or its changes are shown."""

import difflib
import stat
from collections.abc import Iterator
from pathlib import Path

from webhook.atomic_write import FileContent, replace_files
from webhook.check.fix import FixedFile
from webhook.check.input_files import InputProblem


def write_file(file: FixedFile) -> InputProblem | None:
    """Replace a file, with the same mode and behind the same links; return why that is impossible."""
    path = Path(file.path).resolve()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.read_bytes() != file.before.encode():
            return InputProblem(file.path, "has changed meanwhile, so it is not fixed; run the command again")
        replace_files({path: FileContent((file.after.encode(),), mode)})
        path.chmod(mode)  # whatever the umask
    except OSError as error:
        return InputProblem(file.path, f"cannot be written: {(error.strerror or str(error)).lower()}")
    return None


def diff_lines(name: str, before: str, after: str) -> Iterator[str]:
    """Yield a unified diff, for `patch -p0` and `git apply -p0`."""
    for line in difflib.unified_diff(_split(before), _split(after), name, name):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _split(text: str) -> list[str]:
    """Return the lines as `diff` sees them: only a line feed ends one."""
    return [line for line in text.replace("\n", "\n\0").split("\0") if line]

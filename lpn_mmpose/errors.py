"""How tools and commands say what became of what was given to them."""

import sys
from collections.abc import Iterable
from typing import NoReturn


class InputError(ValueError):
    """A file or value that the user gave cannot be used."""


def fail(error: Exception | str, status: int = 2) -> NoReturn:
    """End the program with the error as one line and exit status 2, or another."""
    print('error:', ' '.join(str(error).split()), file=sys.stderr)
    sys.exit(status)


def is_text(name: str) -> bool:
    """Whether a file's name is UTF-8, which a name from another system may not be."""
    return printable(name) == name


def printable(name: str) -> str:
    """Return a file's name, with escapes for what is not UTF-8 in it."""
    return name.encode(errors='surrogateescape').decode(errors='backslashreplace')


def print_lines(lines: Iterable[str]) -> None:
    """Print lines that may have files' names in them, with escapes for what cannot be printed."""
    encoding = sys.stdout.encoding or 'utf-8'
    for line in lines:
        print(line.encode(encoding, 'backslashreplace').decode(encoding))

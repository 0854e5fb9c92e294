"""Locks among processes. They end with the process that holds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made, once others have let it go.

    Raises:
        OSError: If the file cannot be made.
    """
    with path.open('a+b') as file:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            while True:
                file.seek(0)
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError:  # it waits for ten seconds only
                    continue
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def folder_locked(path: Path) -> Iterator[None]:
    """Hold the lock of a folder, where the system has such.

    Raises:
        BlockingIOError: If another process holds it.
    """
    try:
        import fcntl
        import os

        folder = os.open(path, os.O_RDONLY)
    except (ImportError, PermissionError):  # Windows
        yield
        return
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(folder)

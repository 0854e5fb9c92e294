"""Checkpoints that a killed process cannot leave half written."""

import os
import os.path as osp
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """A :class:`mmengine.fileio.LocalBackend` that writes all or nothing.

    MMEngine writes a checkpoint in place, and after an evaluation with a new
    best result once more over the same file: a process killed at that moment
    leaves a broken file where the only good one was. Switched on by
    ``default_hooks.checkpoint.backend_args=dict(backend='atomic')``.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` beside ``filepath``, then rename it.

        Args:
            obj (bytes): The content.
            filepath (str or Path): Where it goes. The folder is created if
                it does not exist.
        """
        folder, name = osp.split(filepath)
        os.makedirs(folder or '.', exist_ok=True)
        partial = osp.join(folder, f'.{name}.{os.getpid()}.partial')
        try:
            with open(partial, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, filepath)
        finally:
            if osp.exists(partial):
                os.remove(partial)

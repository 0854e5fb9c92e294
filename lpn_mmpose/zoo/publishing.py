"""Training checkpoints to small files that one can ship."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import InputError
from ..utils.checkpoint import load_checkpoint


def published_checkpoint(
    checkpoint: dict, half: bool = True, leave_out: Sequence[str] = ()
) -> dict:
    """Return what inference and fine-tuning need of a training checkpoint.

    The weights are those that MMEngine evaluates: ``state_dict`` holds the
    averaged ones where an ``EMAHook`` was used.

    Args:
        checkpoint (dict): An MMEngine checkpoint.
        half (bool): Store floating-point weights as float16. They are
            converted back when they are loaded into a model. Default: True.
        leave_out (Sequence[str]): Top modules of the model that only training
            needs. Default: ``()``.

    Returns:
        dict: ``state_dict``, and ``meta`` with ``dataset_meta`` but not the
        config, which holds paths of the machine that trained.

    Raises:
        KeyError: If there is no ``state_dict``.
    """
    training_only = tuple(f'{module}.' for module in leave_out)
    state_dict: dict[str, torch.Tensor] = {
        key: value.half() if half and value.is_floating_point() else value
        for key, value in checkpoint['state_dict'].items()
        if not key.startswith(training_only)
    }
    kept = ('dataset_meta', 'epoch', 'iter', 'mmengine_version')
    meta = checkpoint.get('meta', {})
    return dict(state_dict=state_dict, meta={key: meta[key] for key in kept if key in meta})


def publish(
    src: str, dst: str, half: bool = True, digest: bool = True, leave_out: Sequence[str] = ()
) -> Path:
    """Write the published form of the checkpoint file ``src``.

    Args:
        src (str): MMEngine checkpoint file.
        dst (str): File to write.
        half (bool): See :func:`published_checkpoint`.
        digest (bool): Append the first 8 digits of the file's SHA-256 to its
            name, as OpenMMLab's model zoos do. Default: True.
        leave_out (Sequence[str]): See :func:`published_checkpoint`.

    Returns:
        Path: The file written.

    Raises:
        InputError: If ``src`` is missing, is no MMEngine checkpoint, or has no such
            module.
    """
    checkpoint = load_checkpoint(str(src))
    if 'state_dict' not in checkpoint:
        raise InputError(f'{src} has no "state_dict": it is not an MMEngine checkpoint')
    modules = sorted({key.split('.')[0] for key in checkpoint['state_dict']})
    for module in leave_out:
        if module not in modules:
            raise InputError(f'{src} has no module {module}, only {", ".join(modules)}')
    dst = Path(dst)
    dst.parent.mkdir(parents=True, exist_ok=True)
    torch.save(published_checkpoint(checkpoint, half, leave_out), dst)
    if digest:
        sha = hashlib.sha256(dst.read_bytes()).hexdigest()
        dst = dst.rename(dst.with_name(f'{dst.stem}-{sha[:8]}{dst.suffix}'))
    return dst

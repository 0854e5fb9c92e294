"""Hold out a share of a data set's photographs for validation."""

import hashlib
import json
from pathlib import Path


def is_held_out(file_name: str, share: float) -> bool:
    """Whether a photograph is one of the held-out ones.

    The answer depends on the name alone, so that it is the same for every
    copy, order and subset of the photographs.

    Args:
        file_name (str): The photograph's name, without folders.
        share (float): Share of all names that are held out, from 0 to 1.
    """
    digest = hashlib.sha256(file_name.encode()).digest()
    return int.from_bytes(digest[:8], 'big') < share * 2**64


def hold_out(
    ann_file: str, train_file: str, val_file: str, share: float = 0.1
) -> dict[str, dict[str, int]]:
    """Split COCO-style annotations by a hash of the photographs' names.

    All persons of a photograph are on one side.

    Args:
        ann_file (str): COCO-style JSON.
        train_file (str): Where the larger part goes.
        val_file (str): Where the held-out part goes.
        share (float): Expected share of held-out photographs. Default: 0.1.

    Returns:
        dict: ``{'train': {'images': n, 'persons': n}, 'val': ...}``.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If the JSON is not COCO-style, ``share`` is not in (0, 1)
            or one of the parts is empty.
    """
    if not 0 < share < 1:
        raise ValueError(f'share must be in (0, 1), got {share}')
    try:
        content = json.loads(Path(ann_file).read_text())
        sides = {
            image['id']: is_held_out(Path(image['file_name']).name, share)
            for image in content['images']
        }
        owners = [ann['image_id'] for ann in content['annotations']]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{ann_file} is not a COCO-style JSON: {error!r}') from error
    counts = {}
    for name, path, side in (('train', train_file, False), ('val', val_file, True)):
        part = dict(
            content,
            images=[i for i in content['images'] if sides[i['id']] == side],
            annotations=[
                ann
                for ann, owner in zip(content['annotations'], owners)
                if sides.get(owner) == side
            ],
        )
        if not part['annotations']:
            raise ValueError(f'{ann_file}: no person would be in {path} with a share of {share}')
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(part))
        counts[name] = dict(images=len(part['images']), persons=len(part['annotations']))
    return counts

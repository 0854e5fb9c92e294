"""Original archives of COCO and MPII to the folders that the configs read."""

import re
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from ..errors import InputError

#: For each dataset, the end of a file's path in an archive and where it goes.
LAYOUTS: dict[str, Sequence[tuple[str, str]]] = {
    'coco': (
        (r'((?:train|val)2017)/(\d{12}\.jpg)', r'\1/\2'),
        (r'(person_keypoints_(?:train|val)2017\.json)', r'annotations/\1'),
        (r'(COCO_val2017_detections_AP_H_56_person\.json)', r'person_detection_results/\1'),
    ),
    'mpii': (
        (r'images/(\w+\.jpg)', r'images/\1'),
        # HRNet's names and MMPose's
        (r'annot/train\.json|mpii_train\.json', 'annotations/mpii_train.json'),
        (r'annot/valid\.json|mpii_val\.json', 'annotations/mpii_val.json'),
        (r'annot/gt_valid\.mat|mpii_gt_val\.mat', 'annotations/mpii_gt_val.mat'),
        (r'(mpii_human_pose_v1_u12_1\.mat)', r'annotations/\1'),
    ),
}


def target_of(name: str, dataset: str) -> str:
    """Return where a file of an archive goes.

    Args:
        name (str): Its path in the archive.
        dataset (str): A key of :data:`LAYOUTS`.

    Returns:
        str: Its path in the dataset's folder, empty for other files.

    Example:
        >>> from lpn_mmpose.dataset_converters.archives import target_of
        >>> target_of('annotations/person_keypoints_val2017.json', 'coco')
        'annotations/person_keypoints_val2017.json'
        >>> target_of('annot/valid.json', 'mpii')
        'annotations/mpii_val.json'
        >>> target_of('annotations/captions_val2017.json', 'coco')
        ''
    """
    for pattern, target in LAYOUTS[dataset]:
        match = re.fullmatch(rf'(?:.*/)?(?:{pattern})', name)
        if match:
            return match.expand(target)
    return ''


def _members(source: Path) -> Iterator[tuple[str, int, Callable[[], BinaryIO]]]:
    """List name, size and opener of the files of an archive or folder."""
    if source.is_dir():
        for path in sorted(source.rglob('*')):
            if path.is_file():
                yield path.as_posix(), path.stat().st_size, (lambda path=path: path.open('rb'))
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, info.file_size, (lambda info=info: archive.open(info))
    elif tarfile.is_tarfile(source):
        # a stream: going back in a compressed archive reads it again
        with tarfile.open(source, 'r|*') as archive:
            for info in archive:
                if info.isfile():
                    yield info.name, info.size, (lambda info=info: archive.extractfile(info))
    else:
        # a plain file, as it was downloaded
        yield source.as_posix(), source.stat().st_size, (lambda: source.open('rb'))


def unpack(sources: Sequence[str], dst: str, dataset: str) -> dict[str, int]:
    """Put the files that the configs read where they look for them.

    Files that are there in their full size are not written again.

    Args:
        sources (Sequence[str]): Archives (zip, tar, tar.gz), folders or files
            as downloaded.
        dst (str): The dataset's folder, e.g. ``data/coco``.
        dataset (str): ``'coco'`` or ``'mpii'``.

    Returns:
        dict[str, int]: Number of files in each folder below ``dst``.

    Raises:
        InputError: If a source is missing, cannot be read or has none of the
            dataset's files.
    """
    counts = Counter()
    for source in map(Path, sources):
        if not source.exists():
            raise InputError(f'{source} does not exist')
        before = sum(counts.values())
        try:
            for name, size, opened in tqdm(_members(source), desc=source.name, unit='file'):
                target = target_of(name, dataset)
                if not target:
                    continue
                path = Path(dst) / target
                counts[path.parent.name] += 1
                if path.is_file() and path.stat().st_size == size:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened() as read, path.open('wb') as written:
                    shutil.copyfileobj(read, written)
        except (EOFError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise InputError(f'{source} cannot be unpacked: {error}; download it again') from error
        if sum(counts.values()) == before:
            wanted = ', '.join(pattern.replace('\\', '') for pattern, _ in LAYOUTS[dataset])
            raise InputError(f'{source} has none of the files of {dataset}: {wanted}')
    return dict(counts)

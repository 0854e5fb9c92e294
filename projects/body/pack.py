#!/usr/bin/env python
"""Pack what a training config reads into archives, for a machine that has no network.

pack.py CONFIG OUT          writes OUT/part-01.zip, part-02.zip, ...
pack.py --unpack FOLDER     writes the files of FOLDER/part-*.zip below the working directory

Annotations and photographs of the training data, the teacher and the weights to begin from keep
their paths, which must be relative. Photographs are compressed again, as AVIF; unpacked they are
bitmaps under their old names, which OpenCV reads all the same. A call that was interrupted is made
again: what is in finished archives stays.
"""

import argparse
import lzma
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from itertools import count
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image, features
from tqdm import tqdm

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime.media import replace_file
from lpn_mmpose.runtime.results import read_json
from lpn_mmpose.utils.config import add_cfg_options, load_config

#: What a name in an archive ends with, in place of the photograph's or file's own compression.
PHOTOGRAPH, OTHER = '.avif', '.xz'


def files_of(cfg: Config) -> list[str]:
    """Return the names in an archive of all that a training reads, the largest files first."""
    names = [cfg.get('load_from'), cfg.model.get('teacher')]
    photographs = {}
    dataset = cfg.train_dataloader.dataset
    for part in dataset.get('datasets', [dataset]):
        ann_file = Path(part.data_root, part.ann_file)
        names.append(str(ann_file))
        folder = Path(part.data_root, part.data_prefix.img)
        for image in read_json(ann_file)['images']:
            photographs[f'{folder / image["file_name"]}{PHOTOGRAPH}'] = None
    names = [f'{name}{OTHER}' for name in dict.fromkeys(names) if name] + list(photographs)
    for name in names:
        path = Path(name).with_suffix('')
        if path.anchor:
            raise InputError(f'{path} is no relative path: it would not be the same elsewhere')
        if not path.is_file():
            raise InputError(f'{path} not found: see the README')
    return names


def compress(name: str, quality: int) -> bytes:
    """Return what an archive holds under a name."""
    path = Path(name).with_suffix('')
    if name.endswith(OTHER):
        return lzma.compress(path.read_bytes())
    image = cv2.imread(str(path))
    if image is None:
        raise InputError(f'{path} cannot be read as an image')
    content = BytesIO()
    Image.fromarray(image[..., ::-1]).save(content, 'AVIF', quality=quality, max_threads=1)
    return content.getvalue()


def pack(names: list[str], out: Path, limit: int, quality: int) -> list[Path]:
    """Write what is in no archive of a folder into new ones.

    Args:
        names (list[str]): Of :func:`files_of`.
        out (Path): Folder of the archives.
        limit (int): Bytes of an archive at most.
        quality (int): AVIF's, from 0 to 100.

    Returns:
        list[Path]: All archives there.

    Raises:
        InputError: If a file is larger than ``limit``.
    """
    out.mkdir(parents=True, exist_ok=True)
    parts = sorted(out.glob('part-*.zip'))
    done = {name for part in parts for name in ZipFile(part).namelist()}
    names = [name for name in names if name not in done]
    buffer = BytesIO()

    def finish(archive: ZipFile) -> None:
        archive.close()
        numbered = (out / f'part-{number:02}.zip' for number in count(1))
        parts.append(next(part for part in numbered if part not in parts))
        replace_file(parts[-1], buffer.getvalue())
        buffer.seek(0)
        buffer.truncate()

    archive, size = ZipFile(buffer, 'w'), 0
    with ProcessPoolExecutor() as pool:
        contents = pool.map(partial(compress, quality=quality), names, chunksize=8)
        for name, content in zip(tqdm(names, disable=None), contents):
            needed = len(content) + 2 * len(name.encode()) + 200  # the archive's own, twice
            if needed > limit:
                raise InputError(f'{name} takes {needed / 1e6:.1f} MB, more than --part-mb')
            if size + needed > limit:
                finish(archive)
                archive, size = ZipFile(buffer, 'w'), 0
            archive.writestr(name, content)
            size += needed
    if size:
        finish(archive)
    return sorted(parts)


def extract(name: str, part: Path) -> None:
    """Write one file of an archive below the working directory."""
    path = Path(name).with_suffix('')
    if path.anchor or '..' in path.parts:
        raise InputError(f'{part}: {name} would leave this folder')
    content = ZipFile(part).read(name)
    if name.endswith(OTHER):
        content = lzma.decompress(content)
    else:
        image = np.array(Image.open(BytesIO(content)).convert('RGB'))
        content = cv2.imencode('.bmp', image[..., ::-1])[1].tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)


def unpack(folder: Path) -> int:
    """Write the files of all archives of a folder; return how many there are."""
    parts = sorted(folder.glob('part-*.zip'))
    if not parts:
        raise InputError(f'{folder} holds no part-*.zip')
    files = [(name, part) for part in parts for name in ZipFile(part).namelist()]
    with ProcessPoolExecutor() as pool:
        done = pool.map(extract, *zip(*files), chunksize=32)
        for _ in tqdm(done, total=len(files), disable=None):
            pass
    return len(files)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='training config')
    parser.add_argument('out', nargs='?', type=Path, help='folder for the archives')
    parser.add_argument('--unpack', type=Path, metavar='FOLDER', help='folder of archives')
    parser.add_argument('--part-mb', type=float, default=60, help='default: 60')
    parser.add_argument('--quality', type=int, default=55, help='of AVIF, 0 to 100 (default: 55)')
    add_cfg_options(parser)
    args = parser.parse_args()
    if bool(args.unpack) == bool(args.out):
        parser.error('give CONFIG and OUT, or --unpack FOLDER')
    return args


def main() -> None:
    args = parse_args()
    try:
        if not features.check('avif'):
            raise InputError('this Pillow has no AVIF: pip install -U pillow')
        if args.unpack:
            print(f'{unpack(args.unpack)} files')
            return
        names = files_of(load_config(args.config, args.cfg_options))
        parts = pack(names, args.out, int(args.part_mb * 1e6), args.quality)
        for part in parts:
            print(f'{part}  {part.stat().st_size / 1e6:.1f} MB')
    except InputError as error:
        fail(error)


if __name__ == '__main__':
    main()

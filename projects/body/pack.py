#!/usr/bin/env python
"""Pack what a training config reads into archives, for a machine that has no network.

pack.py CONFIG OUT          writes OUT/part-01.zip, part-02.zip, ...
pack.py --unpack FOLDER     writes the files of FOLDER/part-*.zip below the working directory

Annotations and photographs of the training data, the teacher and the weights to begin from keep
their paths, which must be relative. Photographs are compressed again, as AVIF; unpacked they are
bitmaps under their old names, which OpenCV reads all the same. A call that was interrupted is made
again: what is in finished archives stays, unless its file has changed, which is an error.
"""

import argparse
import lzma
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from itertools import count
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image, UnidentifiedImageError, features
from tqdm import tqdm

from lpn_mmpose.datasets.data_check import data_paths, require_data
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime.media import replace_file
from lpn_mmpose.runtime.results import read_json
from lpn_mmpose.utils.config import add_cfg_options, innermost_datasets, load_config

#: What a name in an archive ends with, in place of the photograph's or file's own compression.
PHOTOGRAPH, OTHER = '.avif', '.xz'


def files_of(cfg: Config) -> list[str]:
    """Return the names in an archive of all that a training reads, photographs last.

    Raises:
        InputError: If the config trains on nothing, a file is missing, or its path not relative.
    """
    if not cfg.get('train_dataloader'):
        raise InputError(f'{cfg.filename} has no train_dataloader: give a config that trains')
    require_data(cfg, 'train')
    others = [cfg.get('load_from'), cfg.get('model', {}).get('teacher')]
    photographs = {}
    for dataset in innermost_datasets(cfg.train_dataloader.dataset):
        paths = dict(data_paths(dataset))
        others.append(paths['ann_file'])
        try:
            for image in read_json(paths['ann_file'])['images']:
                path = Path(paths['data_prefix.img'], image['file_name'])
                photographs[f'{path.as_posix()}{PHOTOGRAPH}'] = None
        except (KeyError, TypeError) as error:
            raise InputError(f'{paths["ann_file"]} is not a COCO-style JSON: {error!r}') from error
    names = [f'{Path(path).as_posix()}{OTHER}' for path in dict.fromkeys(others) if path]
    names += photographs
    for path in map(source_of, names):
        if path.anchor or '..' in path.parts:
            raise InputError(f'{path} is no relative path: it would not be the same elsewhere')
        if not path.is_file():
            raise InputError(f'{path} not found: put it there, or set another with --cfg-options')
    return names


def source_of(name: str) -> Path:
    """Return the path of the file that has a name in an archive."""
    return Path(name).with_suffix('')


def compress(name: str, quality: int) -> bytes:
    """Return what an archive holds under a name."""
    path = source_of(name)
    if name.endswith(OTHER):
        return lzma.compress(path.read_bytes())
    image = cv2.imread(str(path))
    if image is None:
        raise InputError(f'{path} cannot be read as an image')
    content = BytesIO()
    Image.fromarray(image[..., ::-1]).save(content, 'AVIF', quality=quality, max_threads=1)
    return content.getvalue()


def extract(name: str, content: bytes) -> None:
    """Write what an archive holds under a name, below the working directory."""
    path = source_of(name)
    if path.anchor or '..' in path.parts:
        raise InputError(f'{name} would leave this folder')
    if name.endswith(OTHER):
        content = lzma.decompress(content)
    else:
        image = np.array(Image.open(BytesIO(content)).convert('RGB'))
        content = cv2.imencode('.bmp', image[..., ::-1])[1].tobytes()
    replace_file(path, content)


def on_all_cpus(function: Callable, *items: list) -> Iterator:
    """Yield a function's results in order, with a progress bar."""
    pool = ProcessPoolExecutor()
    try:
        results = pool.map(function, *items, chunksize=8)
        yield from tqdm(results, total=len(items[0]), disable=None)
    finally:
        pool.shutdown(cancel_futures=True)


def time_of(info: ZipInfo) -> tuple[int, ...]:
    """Return an entry's time of change as an archive holds it, to two seconds."""
    return (*info.date_time[:5], info.date_time[5] // 2)


def pack(names: list[str], out: Path, limit: float, quality: int) -> list[Path]:
    """Write what is in no archive of a folder into new ones.

    Args:
        names (list[str]): Of :func:`files_of`.
        out (Path): Folder of the archives.
        limit (float): Bytes of an archive at most.
        quality (int): AVIF's, from 0 to 100.

    Returns:
        list[Path]: All archives there.

    Raises:
        InputError: If a file is larger than ``limit``, or archives that are there are of another
            quality or older than a file.
        OSError: If an archive cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    comment = f'AVIF quality {quality}'.encode()
    entries = {
        name: ZipInfo.from_file(source_of(name), name, strict_timestamps=False) for name in names
    }
    parts = sorted(out.glob('part-*.zip'))
    for part in parts:
        with read_archive(part) as archive:
            if archive.comment != comment:
                raise InputError(f'{part} is not of {comment.decode()}: give an empty folder')
            for info in archive.infolist():
                entry = entries.pop(info.filename, info)
                if time_of(entry) != time_of(info):
                    path = source_of(info.filename)
                    raise InputError(f'{path} is not what {part} has of it: give an empty folder')
    buffer = BytesIO()

    def begin() -> ZipFile:
        buffer.seek(0)
        buffer.truncate()
        archive = ZipFile(buffer, 'w')
        archive.comment = comment
        return archive

    def finish() -> None:
        archive.close()
        numbered = (out / f'part-{number:02}.zip' for number in count(1))
        parts.append(next(part for part in numbered if part not in parts))
        replace_file(parts[-1], buffer.getvalue())

    archive, size = begin(), 0
    contents = on_all_cpus(partial(compress, quality=quality), list(entries))
    for (name, entry), content in zip(entries.items(), contents):
        needed = len(content) + 2 * len(name.encode()) + 200  # the archive's own, twice
        if needed > limit:
            raise InputError(f'{name} takes {needed / 1e6:.3f} MB, more than --part-mb')
        if size + needed > limit:
            finish()
            archive, size = begin(), 0
        archive.writestr(entry, content)
        size += needed
    if size:
        finish()
    return sorted(parts)


def read_archive(part: Path) -> ZipFile:
    """Open an archive.

    Raises:
        InputError: If it is none.
    """
    try:
        return ZipFile(part)
    except BadZipFile as error:
        raise InputError(f'{part} is damaged ({error}): copy or pack it again') from error


def unpack(folder: Path) -> int:
    """Write the files of all archives of a folder; return how many there are.

    Raises:
        InputError: If there is none, one is damaged, or a name would leave the working directory.
        OSError: If a file cannot be written.
    """
    parts = sorted(folder.glob('part-*.zip'))
    if not parts:
        raise InputError(f'{folder} holds no part-*.zip')
    files = 0
    for part in parts:
        with read_archive(part) as archive:
            names = archive.namelist()
            try:
                contents = [archive.read(name) for name in names]
                for _ in on_all_cpus(extract, names, contents):
                    files += 1
            except (BadZipFile, lzma.LZMAError, UnidentifiedImageError) as error:
                raise InputError(f'{part} is damaged ({error}): copy it again') from error
    return files


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
    if not args.part_mb > 0 or not 0 <= args.quality <= 100:
        parser.error('--part-mb must be positive, and --quality from 0 to 100')
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
        parts = pack(names, args.out, args.part_mb * 1e6, args.quality)
        for part in parts:
            print(f'{part}  {part.stat().st_size / 1e6:.1f} MB')
    except (InputError, OSError) as error:
        fail(error)


if __name__ == '__main__':
    main()

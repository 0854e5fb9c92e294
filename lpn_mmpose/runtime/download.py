"""Get known detectors from where their makers publish them.

``detectors.json`` beside this file lists them: address, digest, licence, and
how images go in. A file lies under its own name in the cache folder,
``~/.cache/lpn_mmpose/detectors`` unless the environment variable
``LPN_MMPOSE_CACHE`` names another folder than ``~/.cache/lpn_mmpose``; it may
also be put there by hand. Needs the standard library and tqdm.

Example:
    >>> from lpn_mmpose.runtime.download import known_detectors
    >>> known_detectors()['yolox-nano'].licence
    'Apache-2.0'
"""

import argparse
import errno
import hashlib
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import InputError, fail
from .locking import locked

TABLE = Path(__file__).with_name('detectors.json')
#: Environment variable of the cache folder.
CACHE = 'LPN_MMPOSE_CACHE'
#: Attempts in a row that bring no byte, before a download is given up.
ATTEMPTS = 4
CHUNK = 1 << 16
TIMEOUT = 30


class _StartOverError(Exception):
    """What lies there cannot be completed."""


@dataclass(frozen=True)
class KnownDetector:
    """A detector that has a name.

    Args:
        name (str): The name.
        url (str): Where its maker publishes it, ``.onnx`` or ``.zip``.
        sha256 (tuple[str]): Digests that the file may have; empty if none is
            known. Then that of the first download is recorded.
        licence (str): Its licence.
        source (str): The project that it is from.
        input (dict): See
            :func:`lpn_mmpose.runtime.detector_graphs.parse_input`.
        size_mb (float, optional): Size of the file in MB, if known.
    """

    name: str
    url: str
    sha256: tuple[str, ...]
    licence: str
    source: str
    input: dict[str, Any]
    size_mb: float | None = None

    @property
    def file(self) -> Path:
        """Where the file lies, or is to be put by hand."""
        return cache_folder() / self.url.rpartition('/')[2]


def known_detectors(table: Path | None = None) -> dict[str, KnownDetector]:
    """Return the detectors of a table, by default :data:`TABLE`, by name."""
    return {
        name: KnownDetector(
            name,
            entry['url'],
            tuple(entry['sha256'] or ()),
            entry['licence'],
            entry['source'],
            entry['input'],
            entry['size_mb'],
        )
        for name, entry in json.loads((table or TABLE).read_text()).items()
    }


def cache_folder() -> Path:
    """Return the folder that downloads are kept in."""
    base = os.environ.get(CACHE)
    if not base:
        base = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'lpn_mmpose'
    return Path(base).expanduser() / 'detectors'


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 digest in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + '.new')
    part.write_text(text)
    os.replace(part, path)


def _fetch(url: str, part: Path, name: str) -> None:
    """Append what is missing of a file to ``part``.

    Raises:
        _StartOverError: If the file at the address is another one by now.
        OSError: If it cannot be had or written to the end.
    """
    note = part.with_name(part.name + '.json')
    have = part.stat().st_size if part.is_file() else 0
    headers = {'User-Agent': 'lpn_mmpose'}
    if have:
        try:
            before = json.loads(note.read_text())
            if before['url'] != url:
                raise ValueError
            headers |= {'Range': f'bytes={have}-', 'If-Range': before['validator']}
        except (OSError, ValueError, KeyError):
            raise _StartOverError from None
    request = urllib.request.Request(url, headers=headers)
    try:
        # an opener of its own, as the shared one keeps the proxies of its first use
        response = urllib.request.build_opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing is left, or the file has shrunk
            raise _StartOverError from error
        raise
    with response:
        resumed = response.status == 206
        if have and resumed:
            start = (response.headers.get('Content-Range') or '').partition('bytes ')[2]
            if not start.startswith(f'{have}-'):
                raise _StartOverError
        validator = response.headers.get('ETag') or ''
        if not validator or validator.startswith('W/'):
            validator = response.headers.get('Last-Modified')
        if not resumed:
            have = 0
            if validator:
                _write_text(note, json.dumps(dict(url=url, validator=validator)))
            else:
                note.unlink(missing_ok=True)
        length = response.headers.get('Content-Length')
        total = have + int(length) if length else None
        with (
            part.open('ab' if resumed else 'wb') as file,
            tqdm(
                total=total, initial=have, unit='B', unit_scale=True, desc=name, leave=False
            ) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    if total is not None and have < total:
        raise ConnectionError(f'the connection was cut after {have} of {total} bytes')


def _is_local(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EACCES,
        errno.EROFS,
        errno.EPERM,
    )


def download(url: str, path: Path, sha256: tuple[str, ...] = (), name: str = '') -> Path:
    """Download a file unless it is there.

    It gets its name when it is complete and its digest is right. What an
    interrupted download has brought is kept and completed. Processes that
    want the same file wait for the first. Proxies come from the environment.

    Args:
        url (str): Its address.
        path (Path): Its place.
        sha256 (tuple[str]): Digests that it may have. If there is none, that
            of the first download, recorded in ``path`` + ``.sha256``.
        name (str): How messages call it. Default: its file name.

    Returns:
        Path: ``path``.

    Raises:
        InputError: If it cannot be had or is not the right one. The message
            says where to put the file by hand.
    """
    name = name or path.name
    by_hand = f'get {url} by other means and put it at {path}'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = locked(path.with_name(path.name + '.lock'))
        with lock:
            if not path.is_file():
                _download(url, path, sha256, name, by_hand)
            else:
                _check(path, path, sha256, name)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        raise InputError(
            f'{name} cannot be written to {path.parent} ({error.strerror or error}; '
            f'{free / 1e6:.0f} MB are free): make room, or name another folder by the environment '
            f'variable {CACHE}; what has come is kept'
        ) from error
    return path


def _check(file: Path, path: Path, sha256: tuple[str, ...], name: str) -> None:
    """Compare a file that is to be, or is, at ``path`` with its digest."""
    record = path.with_name(path.name + '.sha256')
    digest = sha256_of(file)
    if not sha256 and not record.is_file():
        _write_text(record, f'{digest}  {path.name}\n')
        return
    expected = sha256 or tuple(record.read_text().split()[:1])
    if digest in expected:
        return
    if file != path:
        file.unlink()
        raise InputError(
            f'what was downloaded as {name} has the SHA-256 {digest} and not '
            f'{" or ".join(expected)}: it was damaged on its way, or is another file by now; '
            + (
                'it was deleted, try again'
                if sha256
                else f'if you trust the new one, delete {record}'
            )
        )
    raise InputError(
        f'{path} has the SHA-256 {digest} and not {" or ".join(expected)}, so it is not {name}: '
        'delete it to download it, or give your own file by its path'
    )


def _download(url: str, path: Path, sha256: tuple[str, ...], name: str, by_hand: str) -> None:
    part = path.with_name(path.name + '.part')
    failures, size = 0, -1
    while True:
        try:
            _fetch(url, part, name)
            break
        except _StartOverError:
            part.unlink(missing_ok=True)
        except (OSError, HTTPException, ValueError) as error:
            if _is_local(error):
                raise
            refused = isinstance(error, urllib.error.HTTPError)
            reason = error if refused else getattr(error, 'reason', error)
            final = isinstance(error, ValueError) or (refused and error.code < 500)
            now = part.stat().st_size if part.is_file() else 0
            failures = 1 if now > size else failures + 1
            size = max(size, now)
            nobody = isinstance(error, urllib.error.URLError) and not refused and not now
            if final or failures >= ATTEMPTS or nobody:
                raise InputError(
                    f'{name} cannot be downloaded ({" ".join(str(reason).split())}): {by_hand}; '
                    'behind a proxy, set https_proxy'
                ) from error
            time.sleep(0.2 * failures)
    _check(part, path, sha256, name)
    os.replace(part, path)
    part.with_name(part.name + '.json').unlink(missing_ok=True)


def unpack_detector(archive: Path, folder: Path | None = None) -> Path:
    """Unpack the model of a zip file, such as MMDeploy's, unless it is done.

    The ``.onnx`` file, ``end2end.onnx`` if there are several, and
    ``pipeline.json`` are written under these names whatever their paths in
    the archive.

    Args:
        archive (Path): The zip file.
        folder (Path, optional): Where to make a folder for it; None for the
            cache folder. Default: None.

    Returns:
        Path: The unpacked ``.onnx`` file.

    Raises:
        InputError: If it cannot be read or written or holds no model.
    """
    folder = folder or cache_folder()
    try:
        target = folder / f'{archive.stem}-{sha256_of(archive)[:12]}'
        model = target / 'end2end.onnx'
        if model.is_file():
            return model
        folder.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(target.name + '.lock')), zipfile.ZipFile(archive) as content:
            files = {name.rpartition('/')[2]: name for name in content.namelist()}
            models = sorted(name for name in files if name.endswith('.onnx'))
            if 'end2end.onnx' in models:
                models = ['end2end.onnx']
            if len(models) != 1:
                raise InputError(
                    f'{archive} must hold one .onnx file or end2end.onnx, and it holds '
                    f'{", ".join(models) or "none"}'
                )
            if model.is_file():
                return model
            part = target.with_name(target.name + '.part')
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            wanted = {models[0]: model.name, 'pipeline.json': 'pipeline.json'}
            for name, new in wanted.items():
                if name in files:
                    with content.open(files[name]) as source, (part / new).open('wb') as file:
                        shutil.copyfileobj(source, file)
            os.replace(part, target)
        return model
    except zipfile.BadZipFile as error:
        raise InputError(f'{archive} is no zip file, or damaged: {error}') from error
    except OSError as error:
        raise InputError(f'{archive} cannot be unpacked into {folder}: {error}') from error


def get_detector(name: str) -> Path:
    """Return the ``.onnx`` file of a known detector, downloaded if need be.

    Args:
        name (str): One of :func:`known_detectors`.

    Raises:
        InputError: If there is no such detector, or it cannot be had.
    """
    table = known_detectors()
    if name not in table:
        raise InputError(f'there is no detector {name}: known are {", ".join(table)}')
    detector = table[name]
    if not detector.file.is_file():
        print(f'{name} ({detector.licence}) from {detector.url}', file=sys.stderr)
    path = download(detector.url, detector.file, detector.sha256, name)
    return unpack_detector(path) if path.suffix == '.zip' else path


def main(argv: list[str] | None = None) -> int:
    """Run ``lpn-download``."""
    parser = argparse.ArgumentParser(
        prog='lpn-download', description='Download detectors, or list them.'
    )
    parser.add_argument('names', nargs='*', help='detectors to download; default: list them')
    args = parser.parse_args(argv)
    try:
        for name in args.names:
            print(get_detector(name))
    except InputError as error:
        fail(error)
    if not args.names:
        for detector in known_detectors().values():
            state = 'here' if detector.file.is_file() else 'not here'
            print(f'{detector.name:12} {state:9} {detector.licence:11} {detector.url}')
            print(f'{"":12} SHA-256 {" or ".join(detector.sha256) or _recorded(detector)}')
            print(f'{"":12} file    {detector.file}')
    return 0


def _recorded(detector: KnownDetector) -> str:
    record = detector.file.with_name(detector.file.name + '.sha256')
    if record.is_file():
        return record.read_text().split()[0] + ', recorded at the first download'
    return 'unknown, will be recorded at the first download'

"""Folders of images and results: on disks, or anywhere that pyarrow reaches."""

import json
import os
import socket
import time
from collections import Counter
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lpn_mmpose.errors import InputError, is_text, printable
from lpn_mmpose.runtime.media import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    list_files,
    replace_file,
)

#: What counts as an image; those that cannot be read are named in the results.
SUFFIXES = IMAGE_SUFFIXES + FOREIGN_SUFFIXES
LIST_SUFFIXES = ('.txt', '.jsonl', '.parquet')
#: Keys of a list's entries that may hold the name.
NAME_KEYS = ('image', 'path', 'file_name')
#: Times that a file is asked for, and seconds before the second.
ATTEMPTS, PAUSE = 3, 1.0


def parquet():
    """Return :mod:`pyarrow.parquet`.

    Raises:
        InputError: If it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f'{error}: pip install -r {Path(__file__).with_name("requirements.txt")}'
        ) from error
    return pyarrow.parquet


def suffix_of(name: str) -> str:
    """Return a name's suffix in small letters."""
    return PurePosixPath(name).suffix.lower()


class LocalFolder:
    """A folder on a disk, which each machine of the cluster sees under the same path.

    Args:
        path (str | Path): The folder.

    Attributes:
        address (str): What it is called in messages.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        self.address = str(self._path)

    def check(self) -> None:
        """Raise InputError if it is not on this machine."""
        if not self._path.is_dir():
            raise InputError(
                f'{self.address} is no folder on {socket.gethostname()}: all machines of the '
                'cluster must see it under this path; mount it there, or give a URI (s3://…)'
            )

    def files(self) -> list[str]:
        """Return the images and videos in it and in its folders, by names relative to it.

        Raises:
            InputError: If a name is not UTF-8, which no Parquet file holds.
        """
        found = list_files(self._path, SUFFIXES + VIDEO_SUFFIXES)
        names = [path.relative_to(self._path).as_posix() for path in found]
        for name in names:
            if not is_text(name):
                raise InputError(f'the name of {printable(name)} is not UTF-8: rename the file')
        return names

    def within(self, folder: str) -> set[str]:
        """Return the names of the files in a folder of it."""
        try:
            return {entry.name for entry in os.scandir(self._path / folder) if entry.is_file()}
        except FileNotFoundError:
            return set()

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""
        return (self._path / name).is_file()

    def read(self, name: str) -> bytes:
        """Return a file's content; OSError if it cannot be read."""
        return (self._path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is there as a whole or not at all, also if two write it at once."""
        path = self._path / name
        # replace_file's temporary name is the same for all who write this file
        own = path.with_name(f'.{socket.gethostname()}-{os.getpid()}-{path.name}')
        replace_file(own, content)
        os.replace(own, path)

    def delete(self, name: str) -> None:
        """Delete a file that another may have deleted."""
        (self._path / name).unlink(missing_ok=True)

    def join(self, name: str) -> str:
        """Return the address of a file."""
        return str(self._path / name)


class RemoteFolder:
    """A folder or a prefix in a file system of pyarrow.

    Args:
        uri (str): Such as ``s3://bucket/photos`` or ``hdfs://host:port/photos``; pyarrow takes
            options in it, as in ``s3://bucket/photos?endpoint_override=host:9000&scheme=http``.

    Attributes:
        address (str): The URI without its options, and without a user and password.

    Raises:
        InputError: If pyarrow does not know it.
    """

    def __init__(self, uri: str) -> None:
        from pyarrow.fs import FileSystem

        split = urlsplit(uri)
        self.address = f'{split.scheme}://{split.netloc.rpartition("@")[2]}{split.path}'.rstrip('/')
        try:
            self._system, path = FileSystem.from_uri(uri)
        except Exception as error:
            raise InputError(f'{self.address} cannot be opened by pyarrow: {error}') from error
        self._path = path.rstrip('/')

    def _info(self, path: str):
        try:
            return self._system.get_file_info(path)
        except OSError as error:
            raise InputError(f'{self.address} cannot be read: {error}') from error

    def check(self) -> None:
        """Raise InputError if it cannot be reached from this machine."""
        self._info(self._path)

    def is_file(self) -> bool:
        """Tell whether it is a file itself."""
        return self._info(self._path).is_file

    def _list(self, path: str, recursive: bool) -> list[str]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(path, recursive=recursive, allow_not_found=True)
        try:
            found = self._system.get_file_info(selector)
        except OSError as error:
            raise InputError(f'{self.address} cannot be read: {error}') from error
        return [info.path[len(path) :].lstrip('/') for info in found if info.is_file]

    def files(self) -> list[str]:
        """Return the images and videos under it, by names relative to it."""
        return sorted(
            name
            for name in self._list(self._path, recursive=True)
            if suffix_of(name) in SUFFIXES + VIDEO_SUFFIXES
            and not any(part[0] == '.' for part in PurePosixPath(name).parts)
        )

    def within(self, folder: str) -> set[str]:
        """Return the names of the files in a folder of it."""
        return set(self._list(f'{self._path}/{folder}', recursive=False))

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""
        return self._info(f'{self._path}/{name}').is_file

    def read(self, name: str) -> bytes:
        """Return a file's content; OSError if it cannot be read."""
        with self._system.open_input_stream(f'{self._path}/{name}') as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is there as a whole or not at all."""
        path = f'{self._path}/{name}'
        if self._system.type_name in ('s3', 'gcs', 'abfs'):  # an object appears when it is whole
            with self._system.open_output_stream(path) as file:
                file.write(content)
            return
        self._system.create_dir(path.rpartition('/')[0], recursive=True)
        folder, _, last = path.rpartition('/')
        own = f'{folder}/.{socket.gethostname()}-{os.getpid()}-{last}'
        with self._system.open_output_stream(own) as file:
            file.write(content)
        try:
            self._system.move(own, path)
        except OSError:  # HDFS does not replace
            if not self._system.get_file_info(path).is_file:
                raise
            self._system.delete_file(path)
            self._system.move(own, path)

    def delete(self, name: str) -> None:
        """Delete a file that another may have deleted."""
        if self.has(name):
            self._system.delete_file(f'{self._path}/{name}')

    def join(self, name: str) -> str:
        """Return the address of a file."""
        return f'{self.address}/{name}'


Folder = LocalFolder | RemoteFolder


def open_folder(text: str) -> Folder:
    """Return the folder that a path or a URI stands for, which need not be there yet."""
    scheme, separator, _ = text.partition('://')
    if not separator:
        return LocalFolder(text)
    return LocalFolder(urlsplit(text).path) if scheme == 'file' else RemoteFolder(text)


def read_patiently(folder: Folder, name: str) -> bytes:
    """Return a file's content, asked for again if the storage fails.

    Raises:
        FileNotFoundError: If there is none.
        OSError: If it cannot be read.
    """
    for attempt in range(ATTEMPTS):
        try:
            return folder.read(name)
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            raise
        except OSError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE * 2**attempt)
    raise AssertionError


# ---- which images


def parse_list(content: bytes, suffix: str, address: str) -> list[str]:
    """Return the names in a list: a text with one a line, JSON lines, or Parquet.

    Args:
        content (bytes): What is in the file.
        suffix (str): One of :data:`LIST_SUFFIXES`.
        address (str): The file, for errors.

    Raises:
        InputError: If it is no such list.
    """
    keys = ', '.join(NAME_KEYS)
    if suffix == '.parquet':
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(pa.BufferReader(content))
        except pa.ArrowException as error:
            raise InputError(f'{address} cannot be read as Parquet: {error}') from error
        column = next((key for key in NAME_KEYS if key in file.schema_arrow.names), None)
        if column is None:
            raise InputError(f'{address} has no column of the names {keys}')
        return [str(name) for name in file.read([column])[column].to_pylist()]
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f'{address} is no text in UTF-8: {error.reason}') from error
    lines = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    if suffix == '.txt':
        return [line for _, line in lines if line]
    names = []
    for number, line in lines:
        if not line:
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise InputError(f'{address}, line {number}: no JSON: {error}') from error
        if isinstance(entry, dict):
            entry = next((entry[key] for key in NAME_KEYS if key in entry), None)
        if not isinstance(entry, str):
            raise InputError(
                f'{address}, line {number}: no name: give a string, or an object with one of {keys}'
            )
        names.append(entry)
    return names


def relative_to(name: str, root: str, address: str) -> str:
    """Return a list's name relative to the folder of the images.

    Raises:
        InputError: If it is not in there.
    """
    inside = name.removeprefix(root.rstrip('/') + '/')
    parts = PurePosixPath(inside).parts
    if not parts or inside.startswith('/') or '://' in inside or '..' in parts:
        raise InputError(
            f'{address}: {name} is not in {root}: give by --root the folder that all images are in'
        )
    return '/'.join(parts)


def parent_of(text: str) -> tuple[Folder, str]:
    """Return the folder of a file, and the file's name in it."""
    if '://' not in text:
        return LocalFolder(Path(text).absolute().parent), Path(text).name
    path, question, options = text.partition('?')
    parent, _, last = path.rpartition('/')
    return open_folder(parent + question + options), last


def find_images(text: str, root: str | None = None) -> tuple[Folder, list[str], list[str]]:
    """Return what an argument stands for.

    Args:
        text (str): A folder, an image, or a list of images (:func:`parse_list`), each as a path
            or a URI.
        root (str, optional): Folder that the names of a list are relative to; None for the
            list's own. Default: None.

    Returns:
        tuple:
        - folder (Folder): The folder of the images.
        - names (list[str]): Their names in it, in order, each once.
        - notes (list[str]): What is left out.

    Raises:
        InputError: If there is none, or they cannot be listed.
    """
    suffix = suffix_of(text.partition('?')[0])
    folder = open_folder(text)
    if isinstance(folder, LocalFolder):
        is_file = Path(folder.address).is_file()
        if not is_file and not Path(folder.address).is_dir():
            raise InputError(f'{text} does not exist')
    else:
        is_file = suffix in SUFFIXES + LIST_SUFFIXES and folder.is_file()
    if root is not None and not (is_file and suffix in LIST_SUFFIXES):
        raise InputError(
            f'--root is for a list of images ({", ".join(LIST_SUFFIXES)}), and {text} is none'
        )
    notes = []
    if not is_file:
        names = folder.files()
        videos = [name for name in names if suffix_of(name) in VIDEO_SUFFIXES]
        if videos:
            notes.append(f'left out: {len(videos)} videos ({videos[0]}, …): lpn-pose reads them')
        names = sorted(set(names).difference(videos))
    else:
        parent, last = parent_of(text)
        if suffix not in LIST_SUFFIXES:
            return parent, [last], notes
        try:
            content = read_patiently(parent, last)
        except OSError as error:
            raise InputError(f'{text} cannot be read: {error}') from error
        address = parent.join(last)
        folder = open_folder(root) if root else parent
        listed = [
            relative_to(name, folder.address, address)
            for name in parse_list(content, suffix, address)
        ]
        counts = Counter(listed)
        names = list(counts)
        if len(names) < len(listed):
            notes.append(f'{len(listed) - len(names)} names stand twice in {address}; once counts')
    if not names:
        raise InputError(f'{text} holds no image ({", ".join(SUFFIXES)})')
    return folder, names, notes

"""Images and videos: the one reader of each, the writers, what a path stands for.

Needs NumPy and OpenCV alone.
"""

import hashlib
import os
import signal
import struct
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np

from ..errors import InputError, is_text, printable
from .engines import cpu_count

#: An array, the path of a file, or a PIL image.
Image = Any
#: What results are drawn into under the same suffix.
DRAWN_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
IMAGE_SUFFIXES = (*DRAWN_SUFFIXES, '.dib', '.jp2', '.jpe', '.pbm', '.pgm', '.ppm')
VIDEO_SUFFIXES = (
    '.3gp',
    '.avi',
    '.flv',
    '.gif',
    '.m2ts',
    '.m4v',
    '.mkv',
    '.mov',
    '.mp4',
    '.mpeg',
    '.mpg',
    '.mts',
    '.ts',
    '.webm',
    '.wmv',
)
#: File systems take names of 255 bytes, and results add up to 40.
MAX_KEY_BYTES = 200
#: Videos that say how long they play.
QUICKTIME_SUFFIXES = ('.3gp', '.m4v', '.mov', '.mp4')
#: Pictures that most builds of OpenCV cannot read. In a folder they are named, not passed over.
FOREIGN_SUFFIXES = ('.arw', '.avif', '.cr2', '.dng', '.heic', '.heif', '.nef')
#: Frames per second of what does not say.
DEFAULT_FPS = 25.0
#: Persons of a single image whose keypoints are printed.
MAX_TABLES = 3


class Input(NamedTuple):
    """An image, a video or a camera.

    Args:
        source (str | int): What is opened.
        name (str): Name in the results: the path relative to what was given.
        key (str): Name of the result files, without suffix.
        frames (bool): Whether it is a video or a camera.
    """

    source: str | int
    name: str
    key: str
    frames: bool

    @property
    def live(self) -> bool:
        """Whether it is a camera or a stream."""
        return isinstance(self.source, int) or '://' in self.source

    def stamp(self) -> tuple[int, int]:
        """Return the file's size and time, by which another under its name is told apart."""
        try:
            status = os.stat(self.source)
        except OSError as error:
            raise InputError(f'{self.source} cannot be read: {error.strerror}') from error
        return status.st_size, status.st_mtime_ns

    def picture(self, folder: Path) -> Path:
        """Return the path of the drawn result."""
        suffix = Path(self.name).suffix
        if self.frames:
            suffix = '.mp4'
        elif suffix.lower() not in DRAWN_SUFFIXES:
            suffix = '.png'
        return folder / (self.key + suffix)


def is_video(path: Path) -> bool:
    """Tell a video from an image by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def list_files(folder: Path, suffixes: Sequence[str], leave_out: Path | None = None) -> list[Path]:
    """Return the files in a folder and the folders in it, in order; nothing hidden.

    Linked folders count too, each folder once.

    Args:
        folder (Path): The folder.
        suffixes (Sequence[str]): What a name may end with, in small letters.
        leave_out (Path, optional): Folder whose files are left out. Default: None.

    Raises:
        InputError: If a folder cannot be read.
    """

    def locked(error: OSError):
        raise InputError(f'folder {error.filename} cannot be read: {error.strerror}') from error

    seen = {folder.resolve(), leave_out and leave_out.resolve()}
    files = []
    for root, folders, names in os.walk(folder, onerror=locked, followlinks=True):
        known = sorted(folders, key=lambda name: (Path(root, name).is_symlink(), name))
        folders.clear()
        for name in known:
            place = Path(root, name).resolve()
            if name[0] != '.' and place not in seen:
                seen.add(place)
                folders.append(name)
        files += [
            Path(root, name)
            for name in names
            if name[0] != '.' and Path(name).suffix.lower() in suffixes
        ]
    return sorted(files)


def _short(name: str) -> str:
    """Return a name that has room for the suffixes of results, itself if it is not too long."""
    content = os.fsencode(name)
    if len(content) <= MAX_KEY_BYTES:
        return name
    digest = hashlib.sha256(content).hexdigest()[:8]
    return content[: MAX_KEY_BYTES - 9].decode(errors='ignore') + '-' + digest


def find_inputs(text: str, out: Path | None = None) -> list[Input]:
    """Return what an argument stands for.

    Args:
        text (str): Path of an image, a video or a folder, whose folders count too; the number
            of a camera; or the URL of a stream.
        out (Path, optional): Folder of the results, which are no input. Default: None.

    Raises:
        InputError: If there is no such file, nothing in the folder, or it cannot be read.
    """
    text = str(text)
    if '://' in text:
        return [Input(text, text, 'stream', True)]
    path = Path(text)
    if text.isdecimal() and not path.exists():
        return [Input(int(text), f'camera {text}', f'camera{text}', True)]
    if path.is_dir():
        if out is not None and out.resolve() == path.resolve():
            raise InputError(
                f'{out} is the folder of the input, among which the results would be: give another'
            )
        folder = path
        known = IMAGE_SUFFIXES + VIDEO_SUFFIXES
        files = list_files(path, known + FOREIGN_SUFFIXES, out)
        if not files:
            raise InputError(f'{path} holds no image or video ({", ".join(known)})')
    elif path.is_file():
        folder, files = path.parent, [path]
    else:
        raise InputError(f'{path} does not exist')
    names = [file.relative_to(folder) for file in files]
    stems, taken = Counter(name.with_suffix('') for name in names), set(names)
    inputs = []
    for file, name in zip(files, names):
        stem = name.with_suffix('')
        # the whole name where another file's results would have the same
        key = name if stems[stem] > 1 or stem in taken else stem
        key = key.with_name(_short(key.name))
        inputs.append(Input(str(file), name.as_posix(), key.as_posix(), is_video(file)))
    return inputs


# ---- images


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of a WebP file's chunks."""
    start = 12
    while start + 8 <= len(content):
        name, size = struct.unpack_from('<4sI', content, start)
        yield name, content[start + 8 : start + 8 + size]
        start += 8 + size + size % 2


def _frames_in(content: bytes) -> int:
    """Return how many pictures a GIF, PNG or WebP file holds; 2 for any number of them."""
    if content[:4] == b'GIF8':
        return 2
    if content[:8] == b'\x89PNG\r\n\x1a\n':
        start = content.find(b'acTL', 0, max(content.find(b'IDAT'), 0))
        return 1 if start < 0 else struct.unpack_from('>I', content, start + 4)[0]
    if content[8:12] == b'WEBP':
        return sum(name == b'ANMF' for name, _ in _chunks(content)) or 1
    return 1


def _is_cut(content: bytes) -> bool:
    """Tell whether a chunk of a PNG file says that it is longer than the file.

    OpenCV 4.11 would make room for it, up to 4 GB, before it looks.
    """
    start = 8
    while content[:8] == b'\x89PNG\r\n\x1a\n' and start + 8 <= len(content):
        size, name = struct.unpack_from('>I4s', content, start)
        start += 12 + size
        if start > len(content):
            return True
        if name == b'IEND':
            break
    return False


def _webp_orientation(content: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of a WebP file; 1 where it is unknown."""
    exif = dict(_chunks(content)).get(b'EXIF', b'').removeprefix(b'Exif\0\0')
    order = {b'II': '<', b'MM': '>'}.get(exif[:2], '<')
    try:
        (start,) = struct.unpack_from(order + 'I', exif, 4)
        (count,) = struct.unpack_from(order + 'H', exif, start)
        for i in range(count):
            tag, _, _, value = struct.unpack_from(order + 'HHIH', exif, start + 2 + 12 * i)
            if tag == 0x0112 and 1 <= value <= 8:
                return value
    except struct.error:  # damaged, or no EXIF at all
        pass
    return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror an image as an EXIF orientation, 1 to 8, says."""
    if orientation > 4:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Convert 16-bit integers, and floats in [0, 1], to 8 bits.

    Raises:
        ValueError: If the values are of another kind, or would be nearly black.
    """
    if image.dtype == np.uint8:
        return image
    low, high = image.min(), image.max()
    if image.dtype == np.uint16:
        if 0 < high < 4096:
            raise ValueError(
                f'16 bits whose largest value is {high} would be nearly black: scale them to 8 bits'
            )
        return (image >> 8).astype(np.uint8)
    if image.dtype.kind == 'f' and low >= 0 and high <= 1:
        return np.rint(image * 255).astype(np.uint8)
    raise ValueError(
        f'{image.dtype} from {low:g} to {high:g} is neither 8 or 16 bits nor floats in [0, 1]: '
        'convert it to 8 bits'
    )


def decode_image(content: bytes, name: str | Path, ignore_orientation: bool = False) -> np.ndarray:
    """Make an image of a file's content, as it is to be looked at.

    Transparency is left out, as MMPose leaves it out.

    Args:
        content (bytes): What is in the file.
        name (str | Path): The file's name or address, for errors.
        ignore_orientation (bool): Leave it as the camera stored it, whatever its EXIF says.
            Default: False.

    Returns:
        np.ndarray: uint8 in shape (H, W, 3), BGR.

    Raises:
        InputError: If it is damaged, animated or of unknown values.
    """
    if _frames_in(content) > 1:
        raise InputError(
            f'{name} is animated: make a video of it (ffmpeg -i IN OUT.mp4), or save one picture'
        )
    webp = content[8:12] == b'WEBP'  # not turned by OpenCV before 4.12
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    if webp or ignore_orientation:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = None if _is_cut(content) else cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # an empty file, or one that claims to be huge
        image = None
    if image is None:
        foreign = Path(name).suffix.lower() in FOREIGN_SUFFIXES
        hint = ': convert it to JPEG first (magick IN OUT.jpg)' if foreign else ''
        raise InputError(f'{name} cannot be read as an image{hint}')
    try:
        image = to_uint8(image)
    except ValueError as error:
        raise InputError(f'{name}: {error}') from error
    if webp and not ignore_orientation:
        image = _upright(image, _webp_orientation(content))
    return image


def read_image(path: str | Path, ignore_orientation: bool = False) -> np.ndarray:
    """Read an image file by :func:`decode_image`.

    Args:
        path (str | Path): Image file.
        ignore_orientation (bool): Leave it as the camera stored it, whatever its EXIF says.
            Default: False.

    Returns:
        np.ndarray: uint8 in shape (H, W, 3), BGR.

    Raises:
        InputError: If it is missing, damaged, animated or of unknown values.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f'{path} does not exist') from None
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error.strerror}') from error
    return decode_image(content, path, ignore_orientation)


def as_image(image) -> np.ndarray:
    """Return what :class:`PoseRuntime` was given as an array.

    Args:
        image (np.ndarray | str | Path | PIL.Image.Image): An image.

    Returns:
        np.ndarray: uint8 in shape (H, W, 3), BGR.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(image, (str, Path)):
        return read_image(image)
    if hasattr(image, 'getexif'):  # PIL's
        orientation = image.getexif().get(0x0112, 1)
        if orientation in range(2, 9):  # others say nothing
            raise ValueError(
                f'the PIL image is to be turned, as its EXIF orientation {orientation} says: '
                'give PIL.ImageOps.exif_transpose(image)'
            )
        if image.mode[0] in 'IF':  # 16 and 32 bits, which PIL would cut off
            return np.repeat(to_uint8(np.asarray(image))[..., None], 3, axis=2)
        return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    if not (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size
    ):
        what = type(image).__name__
        if isinstance(image, np.ndarray):
            what = f'{image.dtype} of shape {image.shape}'
        elif image is None:
            what = 'None, which cv2.imread returns for a file that it cannot read'
        raise ValueError(
            f'an image must be uint8 in shape (H, W, 3), channels in the order BGR, got {what}'
        )
    return image


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.part-{path.name}')
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3), BGR, in the format that the suffix says.

    Raises:
        InputError: If the format cannot hold it.
        OSError: If the file cannot be written.
    """
    try:
        written, content = cv2.imencode(path.suffix, image)
    except cv2.error as error:
        raise InputError(f'{path} cannot be drawn: {error.err}') from error
    if not written:
        raise InputError(
            f'{path} cannot be drawn: {image.shape[1]}x{image.shape[0]} pixels are too many for '
            f'{path.suffix}'
        )
    replace_file(path, content.tobytes())


# ---- videos


def silence_decoders() -> None:
    """Keep OpenCV and FFmpeg from reporting unreadable files in their own words."""
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    if hasattr(cv2, 'setLogLevel'):
        cv2.setLogLevel(0)
    else:  # OpenCV 5
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _video_path(path: str | Path) -> str:
    """Return a path as OpenCV's videos take it: ``a:b.ts`` would be of a protocol ``a``.

    Raises:
        InputError: If it is no UTF-8, by which OpenCV ends the process.
    """
    path = os.path.abspath(path)
    if not is_text(path):
        raise InputError(
            f'{printable(path)}: OpenCV takes no videos whose path is not UTF-8: rename it'
        )
    return path


def open_video(source: str | int) -> cv2.VideoCapture:
    """Open a video, camera or stream, whose frames come as they are to be looked at.

    Raises:
        InputError: If it is a path that OpenCV does not take.
    """
    if isinstance(source, str) and '://' not in source:
        source = _video_path(source)
        # the networks need the CPUs more, and threads that share a frame cost a third of its time
        options = [cv2.CAP_PROP_N_THREADS, max(cpu_count() // 2, 1)]
        capture = cv2.VideoCapture(source, cv2.CAP_ANY, options)
        if not capture.isOpened():  # of FFmpeg's options others know none
            capture = cv2.VideoCapture(source)
    else:
        capture = cv2.VideoCapture(source)
    # the default differs among OpenCV's releases; 4.11 does not turn phones' videos
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def _enter_box(file: BinaryIO, end: int, name: bytes) -> int | None:
    """Go to the content of the first box of a name in an MP4 file; return where it ends.

    None if there is none before ``end``.
    """
    while (start := file.tell()) + 8 <= end:
        size, found = struct.unpack('>I4s', file.read(8))
        if size == 1:
            (size,) = struct.unpack('>Q', file.read(8))
        stop = start + size if size else end
        if found == name:
            return stop
        if stop < file.tell():
            break
        file.seek(stop)
    return None


def presented_seconds(path: str | Path) -> float | None:
    """Return how long an MP4 or QuickTime file plays, None if it does not say.

    What was trimmed without encoding it anew still holds frames that are not shown.
    """
    try:
        with open(path, 'rb') as file:
            end = os.fstat(file.fileno()).st_size
            for name in (b'moov', b'mvhd'):
                end = _enter_box(file, end, name)
                if end is None:
                    return None
            layout, times = ('>IQ', 16) if file.read(1) == b'\1' else ('>II', 8)
            file.seek(3 + times, os.SEEK_CUR)
            scale, duration = struct.unpack(layout, file.read(struct.calcsize(layout)))
    except (OSError, OverflowError, struct.error):  # damaged
        return None
    return duration / scale if scale and duration else None


class FrameReader:
    """The frames of a video, camera or stream, of the latter two until :meth:`end`.

    Args:
        item (Input): What to read.
        limit (int, optional): Frames at most; None for all. Default: None.

    Attributes:
        fps (float): Frames per second.
        total (int, optional): Frames, if the file says.
    """

    def __init__(self, item: Input, limit: int | None = None) -> None:
        self._item, self._limit, self._ended, self._position = item, limit, False, 0.0
        self._capture = open_video(item.source)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else DEFAULT_FPS
        self.total = int(max(self._capture.get(cv2.CAP_PROP_FRAME_COUNT), 0)) or None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield uint8 (H, W, 3), BGR.

        Raises:
            InputError: If there is none.
        """
        count = 0
        try:
            while not self._ended and (self._limit is None or count < self._limit):
                read, image = self._capture.read()
                if not read:
                    break
                count += 1
                self._position = self._capture.get(cv2.CAP_PROP_POS_MSEC)
                yield image
        finally:
            self._capture.release()
        if not count:
            source = self._item.source
            if self._item.live:
                raise InputError(f'camera or stream {source} gives no frames: is it connected?')
            raise InputError(f'{source} cannot be read as a video')

    def end(self) -> None:
        """Read no more frames."""
        self._ended = True

    @contextmanager
    def ended_by_interrupt(self) -> Iterator[None]:
        """Let Ctrl-C end the frames of a camera or a stream, of which nothing is to be lost."""
        if not self._item.live or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, lambda *_: self.end())
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def lost(self, count: int) -> str | None:
        """Return what to say of a file that ended after ``count`` frames, None if that is all.

        One frame in ten may miss. A video of a changing frame rate has as many as its container
        says; where that is a guess, it is read to its end when the time of its last frame is there.
        """
        total = self.total or 0
        suffix = '' if self._item.live else Path(self._item.source).suffix.lower()
        seconds = suffix in QUICKTIME_SUFFIXES and presented_seconds(self._item.source)
        if seconds:
            total = min(total, round(seconds * self.fps))
        expected = min(total, self._limit or sys.maxsize)
        if self._item.live or count >= 0.9 * expected:
            return None
        guessed = suffix not in (*QUICKTIME_SUFFIXES, '.avi', '.gif')
        if guessed and self._position / 1000 >= 0.9 * expected / self.fps:
            return None
        return f'{self._item.source} is damaged: {count} of {expected} frames can be read'


class VideoWriter:
    """Write an MP4 file, which appears when the ``with`` block ends without an exception.

    Args:
        path (Path): The file.
        fps (float): Frames per second; rounded where the codec needs it.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._part = path.with_name(f'.part-{path.name}')
        self._writer, self._count = None, 0

    def __enter__(self) -> 'VideoWriter':
        return self

    def write(self, image: np.ndarray) -> None:
        """Append a frame (H, W, 3), BGR.

        Raises:
            InputError: If there is no frame rate near ``fps`` that the codec takes.
            OSError: If the file cannot be written.
        """
        if self._writer is None:
            self._open(image.shape[1::-1])
        self._writer.write(image)
        self._count += 1

    def _open(self, size: tuple[int, int]) -> None:
        self._part.parent.mkdir(parents=True, exist_ok=True)
        path = _video_path(self._part)
        self._part.open('wb').close()  # OpenCV would not say why it cannot
        codec = cv2.VideoWriter_fourcc(*'mp4v')
        # MPEG-4 counts time in 1/65535 s or more
        for fps in (self.fps, round(self.fps, 2), round(self.fps, 1), max(round(self.fps), 1)):
            self._writer = cv2.VideoWriter(path, codec, fps, size)
            if self._writer.isOpened():
                return
        raise InputError(f'{self.path}: no video of {self.fps:g} frames per second can be written')

    def __exit__(self, exception, *_) -> None:
        if self._writer is None:
            return
        self._writer.release()
        try:
            if exception is None:
                # nothing else tells that the disk is full
                written = cv2.VideoCapture(_video_path(self._part)).get(cv2.CAP_PROP_FRAME_COUNT)
                written = max(int(written), 0)  # OpenCV 5 says -1 of a file without frames
                if written != self._count:
                    raise OSError(f'{self.path}: {written} of {self._count} frames are there')
                os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)


# ---- text


def keypoint_table(names: Sequence[str], keypoints: np.ndarray, scores: np.ndarray) -> str:
    """Format one person's keypoints, a line each.

    Args:
        names (Sequence[str]): The K keypoints' names.
        keypoints (np.ndarray): Coordinates (K, 2) in pixels.
        scores (np.ndarray): Scores (K, ).
    """
    lines = [f'{"keypoint":16}{"x":>9}{"y":>9}{"score":>8}']
    lines += [
        f'{name:16}{x:9.1f}{y:9.1f}{score:8.2f}'
        for name, (x, y), score in zip(names, keypoints, scores)
    ]
    return '\n'.join(lines)


def person_tables(names: Sequence[str], keypoints: np.ndarray, scores: np.ndarray) -> list[str]:
    """Format the first :data:`MAX_TABLES` persons of an image.

    Args:
        names (Sequence[str]): The K keypoints' names.
        keypoints (np.ndarray): Coordinates (N, K, 2) in pixels.
        scores (np.ndarray): Scores (N, K).

    Returns:
        list[str]: A table for each person, and how many more there are.
    """
    tables = [
        keypoint_table(names, *person)
        for person in zip(keypoints[:MAX_TABLES], scores[:MAX_TABLES])
    ]
    if len(keypoints) > MAX_TABLES:
        tables.append(f'and {len(keypoints) - MAX_TABLES} more persons')
    return tables

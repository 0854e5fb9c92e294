"""Image and video files as phones and other programs write them, by OpenCV alone."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

#: What a camera held so stores of a picture, by EXIF orientation.
STORED = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}
#: What a phone held so stores of a frame, and the matrix (a, b, c, d) of the track's header.
TURNED = {
    0: (lambda image: image, (1, 0, 0, 1)),
    90: (np.rot90, (0, 1, -1, 0)),
    180: (lambda image: np.rot90(image, 2), (-1, 0, 0, -1)),
    270: (lambda image: np.rot90(image, -1), (0, -1, 1, 0)),
}


def encoded(suffix: str, image: np.ndarray, *params: int) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(image), params)[1].tobytes()


def exif(orientation: int) -> bytes:
    entry = struct.pack('<HHIHH', 0x0112, 3, 1, orientation, 0)
    return b'II*\0\x08\0\0\0\x01\0' + entry + bytes(4)


def png_chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(name + content)
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', crc)


def riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack('<I', len(content)) + content + bytes(len(content) % 2)


def webp(image: np.ndarray, flags: int, *chunks: bytes) -> bytes:
    """Return a WebP file with further chunks: EXIF (flag 8), animation (flag 2)."""
    height, width = image.shape[:2]
    size = b''.join(struct.pack('<I', n - 1)[:3] for n in (width, height))
    parts = [riff_chunk(b'VP8X', bytes([flags, 0, 0, 0]) + size)]
    parts += [*chunks] if flags & 2 else [encoded('.webp', image)[12:], *chunks]
    content = b'WEBP' + b''.join(parts)
    return b'RIFF' + struct.pack('<I', len(content)) + content


def photograph(path: Path, image: np.ndarray, orientation: int) -> Path:
    """Write a JPEG, PNG or WebP that looks like ``image`` if its EXIF is heeded."""
    stored = STORED.get(orientation, STORED[1])(image)
    if path.suffix == '.jpg':
        content = encoded('.jpg', stored, cv2.IMWRITE_JPEG_QUALITY, 100)
        segment = b'Exif\0\0' + exif(orientation)
        marker = b'\xff\xe1' + struct.pack('>H', len(segment) + 2)
        content = content[:2] + marker + segment + content[2:]
    elif path.suffix == '.png':
        content = encoded('.png', stored)
        content = content[:33] + png_chunk(b'eXIf', exif(orientation)) + content[33:]
    else:
        content = webp(stored, 8, riff_chunk(b'EXIF', exif(orientation)))
    path.write_bytes(content)
    return path


def film(path: Path, images: list[np.ndarray], angle: int, fps: float = 10) -> Path:
    """Write an MP4 that looks like ``images`` if its rotation is heeded."""
    store, (a, b, c, d) = TURNED[angle]
    frames = [np.ascontiguousarray(store(image)) for image in images]
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    content = bytearray(path.read_bytes())
    start = content.index(b'tkhd') + 44  # behind flags, times, id, layer and volume
    assert struct.unpack_from('>9i', content, start) == (
        1 << 16,
        0,
        0,
        0,
        1 << 16,
        0,
        0,
        0,
        1 << 30,
    )
    matrix = [v << 16 for v in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30]
    matrix[2] = matrix[5] = 0
    struct.pack_into('>9i', content, start, *matrix)
    path.write_bytes(content)
    return path

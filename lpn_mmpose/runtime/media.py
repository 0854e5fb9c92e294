"""Images and videos that a tool was given, and the text it prints of them.

Needs NumPy and OpenCV alone.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.mkv', '.mov', '.mp4', '.webm')
#: Persons of a single image whose keypoints are printed.
MAX_TABLES = 3


def is_video(path: Path) -> bool:
    """Tell a video from an image by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def list_inputs(path: str) -> list[Path]:
    """Return the images and videos that ``path`` stands for.

    Args:
        path (str): An image, a video, or a folder of them.

    Raises:
        InputError: If it does not exist, cannot be read, or the folder holds
            neither.
    """
    path = Path(path)
    if path.is_dir():
        known = IMAGE_SUFFIXES + VIDEO_SUFFIXES
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in known)
        if not files:
            raise InputError(f'{path} holds no image or video ({", ".join(known)})')
        return files
    if not path.is_file():
        raise InputError(f'{path} does not exist')
    return [path]


def check_readable(path: Path) -> None:
    """Raise InputError if OpenCV can read ``path`` neither way."""
    if is_video(path):
        capture = cv2.VideoCapture(str(path))
        readable = capture.read()[0]
        capture.release()
    else:
        readable = cv2.imread(str(path)) is not None
    if not readable:
        raise InputError(f'{path} cannot be read as an image or a video')


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

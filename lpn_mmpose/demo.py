"""What ``tools/demo.py`` does: poses in photographs and videos, as pictures."""
import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import List, Sequence

import cv2
import numpy as np
from mmpose.apis import MMPoseInferencer
from tqdm import tqdm

from .cli import InputError

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.mkv', '.mov', '.mp4', '.webm')
#: Persons of a single image whose keypoints are printed.
MAX_TABLES = 3


def list_inputs(path: str) -> List[Path]:
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
            raise InputError(f'{path} holds no image or video '
                             f'({", ".join(known)})')
        return files
    if not path.is_file():
        raise InputError(f'{path} does not exist')
    return [path]


def check_readable(path: Path) -> None:
    """Raise InputError if OpenCV can read ``path`` neither way."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        capture = cv2.VideoCapture(str(path))
        readable = capture.read()[0]
        capture.release()
    else:
        readable = cv2.imread(str(path)) is not None
    if not readable:
        raise InputError(f'{path} cannot be read as an image or a video')


def keypoint_table(names: Sequence[str], keypoints: np.ndarray,
                   scores: np.ndarray) -> str:
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


def run(args: argparse.Namespace) -> List[str]:
    """Draw the poses of all inputs and write them as JSON.

    Args:
        args (Namespace): ``input``, ``model``, ``weights``, ``det_model``,
            ``det_weights``, ``device`` and ``out_dir`` of ``tools/demo.py``.

    Returns:
        list[str]: Lines to print: the keypoints of a single image, else a
        line for each file, and the paths of what was written.

    Raises:
        InputError: If an input cannot be used; of a folder, all of them.
    """
    files = list_inputs(args.input)
    if Path(args.out_dir).resolve() == files[0].resolve().parent:
        raise InputError(f'--out-dir {args.out_dir} is the folder of the '
                         'input, which would be drawn over; give another')
    single = len(files) == 1
    if single:
        check_readable(files[0])
    with redirect_stdout(sys.stderr):  # MMEngine prints what it loads
        inferencer = MMPoseInferencer(
            pose2d=args.model,
            pose2d_weights=args.weights,
            det_model=args.det_model,
            det_weights=args.det_weights,
            det_cat_ids=[0],
            device=args.device,
            show_progress=False)
    names = inferencer.inferencer.model.dataset_meta['keypoint_id2name']
    out_dir = Path(args.out_dir)
    lines, done = [], 0
    for file in tqdm(files, unit='file', disable=single):
        try:
            check_readable(file)
        except InputError as error:
            lines.append(f'skipped: {error}')
            continue
        frames = [
            result['predictions'][0] for result in inferencer(
                str(file), vis_out_dir=str(out_dir), pred_out_dir=str(out_dir))
        ]
        done += 1
        if single and len(frames) == 1:
            for person in frames[0][:MAX_TABLES]:
                lines.append(
                    keypoint_table([names[i] for i in range(len(names))],
                                   person['keypoints'],
                                   person['keypoint_scores']))
            if len(frames[0]) > MAX_TABLES:
                lines.append(f'and {len(frames[0]) - MAX_TABLES} more persons')
        else:
            persons = sum(map(len, frames))
            lines.append(f'{file}: frames {len(frames)}, persons {persons}')
        prediction = out_dir / f'{file.stem}.json'
        lines += [f'drawn  {out_dir / file.name}', f'JSON   {prediction}']
    if not done:
        raise InputError(f'none of the files in {args.input} can be read')
    return lines

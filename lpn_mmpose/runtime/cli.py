"""The command ``lpn-pose``: poses in photographs, videos and from cameras."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from ..errors import InputError, fail
from ..version import __version__
from .detector import PersonDetector
from .drawing import draw_poses
from .media import IMAGE_SUFFIXES, is_video, list_inputs, person_tables
from .pose import DEFAULT_MODEL, PoseRuntime
from .results import (
    BoxFile,
    JsonListWriter,
    read_json,
    read_json_list,
    to_coco,
    to_mmpose,
)
from .tracking import (
    FindBoxes,
    KeypointSmoother,
    Persons,
    PoseTracker,
    find_whole_image,
)

#: Frames between two runs of the detector while tracking.
DETECT_EVERY = 30
#: Frames per second of what does not say.
DEFAULT_FPS = 25.0
#: What decides the results; a folder holds those of one choice.
SETTINGS = (
    'model',
    'backend',
    'bboxes',
    'det',
    'det_thr',
    'nms_thr',
    'track',
    'smooth',
    'max_frames',
    'kpt_thr',
)


class UnreadableError(Exception):
    """An input cannot be read; the others can."""


class Input(NamedTuple):
    """An image, a video or a camera.

    Args:
        source (str | int): What OpenCV opens.
        name (str): Name in the results.
        key (str): Name of the result files, without suffix.
        frames (bool): Whether it is a video or a camera.
    """

    source: str
    name: str
    key: str
    frames: bool

    @property
    def live(self) -> bool:
        """Whether it is a camera or a stream."""
        return isinstance(self.source, int) or '://' in self.source

    def picture(self, out: Path) -> Path:
        """Return the path of the drawn result."""
        suffix = '.mp4' if self.frames else Path(self.name).suffix
        return out / 'visualizations' / (self.key + suffix)

    def prediction(self, out: Path) -> Path:
        """Return the path of the result as JSON."""
        return out / 'predictions' / f'{self.key}.json'


def find_inputs(text: str) -> list[Input]:
    """Return what an argument stands for.

    Args:
        text (str): Path of an image, a video or a folder; the number of a
            camera; or the URL of a stream.

    Raises:
        InputError: If there is no such file, or nothing in the folder.
    """
    if '://' in text:
        return [Input(text, text, 'stream', True)]
    if text.isdecimal() and not Path(text).exists():
        return [Input(int(text), f'camera {text}', f'camera{text}', True)]
    files = list_inputs(text)
    stems = Counter(file.stem for file in files)
    return [
        Input(
            str(file), file.name, file.stem if stems[file.stem] == 1 else file.name, is_video(file)
        )
        for file in files
    ]


class App:
    """A run of ``lpn-pose``.

    Args:
        args (Namespace): From :func:`parse_args`.

    Raises:
        InputError: If something that the user gave cannot be used.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.out = Path(args.out)
        self.inputs = find_inputs(args.input)
        if args.bboxes and args.det:
            raise InputError('--bboxes and --det both say where the persons are; give one')
        if (args.track or args.smooth) and not any(item.frames for item in self.inputs):
            raise InputError(f'--track and --smooth are for videos, and {args.input} has none')
        if args.smooth:
            try:
                import OneEuroFilter  # noqa: F401
            except ImportError:
                raise InputError(
                    '--smooth needs the package OneEuroFilter: pip install OneEuroFilter'
                ) from None
        self.boxes = BoxFile(args.bboxes) if args.bboxes else None
        if self.boxes and not any(self.boxes.knows(item.name) for item in self.inputs):
            raise InputError(f'{args.bboxes} has no box for {args.input}')
        self.pose = PoseRuntime(args.model, args.backend, args.threads)
        self.detector = None
        if args.det:
            self.detector = PersonDetector(
                args.det, args.backend, args.threads, args.det_thr, args.nms_thr
            )
        self._prepare_out()

    def _prepare_out(self) -> None:
        """Create the folders; refuse to mix results of different settings."""
        for folder in ('visualizations', 'predictions'):
            try:
                (self.out / folder).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f'--out {self.out} cannot be written: {error}') from error
        settings = {name: getattr(self.args, name) for name in SETTINGS}
        settings['version'] = __version__
        path = self.out / 'settings.json'
        if path.is_file() and not self.args.overwrite:
            before = read_json(path)
            for name, value in settings.items():
                if before.get(name) != value:
                    raise InputError(
                        f'--out {self.out} holds results with {name} '
                        f'{before.get(name)}, and now it is {value}: give '
                        'another folder, or --overwrite'
                    )
        if self.args.overwrite:
            for item in self.inputs:
                item.prediction(self.out).unlink(missing_ok=True)
        path.write_text(json.dumps(settings))

    def is_done(self, item: Input) -> bool:
        """Tell whether an earlier run has finished with an input."""
        return (
            not item.live
            and item.prediction(self.out).is_file()
            and (self.args.no_draw or item.picture(self.out).is_file())
        )

    def find_boxes(self, item: Input, frame: Callable[[], int] | None = None) -> FindBoxes:
        """Return what finds the persons in an image or a frame of a video."""
        if self.boxes is not None:
            boxes = self.boxes
            return lambda image: boxes.get(item.name, frame and frame())
        return self.detector or find_whole_image

    def draw(self, image: np.ndarray, persons: Persons) -> np.ndarray:
        """Return the image with the persons drawn."""
        whole = self.boxes is None and self.detector is None
        return draw_poses(
            image,
            persons.keypoints,
            persons.scores,
            self.pose.meta.keypoint_names,
            self.pose.meta.skeleton,
            self.args.kpt_thr,
            boxes=None if whole else persons.boxes,
            ids=persons.ids,
        )

    def run_image(self, item: Input) -> tuple[int, Persons]:
        """Write the results of an image.

        Raises:
            UnreadableError: If it cannot be read.
        """
        image = cv2.imread(item.source)
        if image is None:
            raise UnreadableError(f'{item.source} cannot be read as an image')
        persons = self._estimate(image, self.find_boxes(item))
        if not self.args.no_draw:
            path = item.picture(self.out)
            part = path.with_name(f'.part-{path.name}')
            if not cv2.imwrite(str(part), self.draw(image, persons)):
                raise InputError(f'{path} cannot be written')
            os.replace(part, path)
        with JsonListWriter(item.prediction(self.out)) as file:
            for instance in to_mmpose(persons):
                file.write(instance)
        return 1, persons

    def run_video(self, item: Input) -> tuple[int, Persons]:
        """Write the results of a video or a camera, of this until Ctrl-C.

        Raises:
            UnreadableError: If no frame can be read.
        """
        capture = cv2.VideoCapture(item.source)
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if 0 < fps < 1000 else DEFAULT_FPS
        total = int(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))
        path = item.picture(self.out)
        part = path.with_name(f'.part-{path.name}')
        writer, persons, count = None, None, 0
        find_boxes = self.find_boxes(item, lambda: count)
        estimate = self._estimator(find_boxes, fps)
        try:
            with (
                JsonListWriter(item.prediction(self.out)) as file,
                tqdm(total=total or None, unit='frame', desc=item.name, leave=False) as progress,
            ):
                for image in self._frames(capture, item.live):
                    persons = estimate(image)
                    if not self.args.no_draw:
                        if writer is None:
                            writer = self._open_writer(part, fps, image)
                        writer.write(self.draw(image, persons))
                    file.write(dict(frame_id=count, instances=to_mmpose(persons)))
                    count += 1
                    progress.update()
                if persons is None:
                    raise UnreadableError(f'{item.source} cannot be read as a video')
                if writer is not None:
                    writer.release()
                    os.replace(part, path)
        finally:
            capture.release()
        return count, persons

    def _estimator(self, find_boxes: FindBoxes, fps: float) -> Callable[[np.ndarray], Persons]:
        """Return what gives the persons of a video's next frame."""
        if not (self.args.track or self.args.smooth):
            return lambda image: self._estimate(image, find_boxes)
        tracker = PoseTracker(
            self.pose,
            find_boxes,
            reuse_boxes=self.args.track,
            find_every=DETECT_EVERY if self.detector else None,
        )
        if not self.args.smooth:
            return tracker
        smooth = KeypointSmoother(fps)
        return lambda image: smooth(tracker(image))

    def _estimate(self, image: np.ndarray, find_boxes: FindBoxes) -> Persons:
        boxes, box_scores = find_boxes(image)
        return Persons(*self.pose(image, boxes), boxes, box_scores)

    def _frames(self, capture, live) -> Iterator[np.ndarray]:
        count = 0
        while self.args.max_frames is None or count < self.args.max_frames:
            try:
                read, image = capture.read()
            except KeyboardInterrupt:
                if live:
                    return
                raise
            if not read:
                return
            count += 1
            yield image

    @staticmethod
    def _open_writer(path: Path, fps: float, image: np.ndarray):
        height, width = image.shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, (width, height))
        if not writer.isOpened():
            raise InputError(f'{path} cannot be written')
        return writer

    def merge(self, path: Path) -> int:
        """Write all inputs' results in COCO's format; return the persons.

        ``image_id`` is that of the annotations given by ``--bboxes``; or the
        number in every file's name; or else images and frames are counted.
        """
        done = [i for i in self.inputs if i.prediction(self.out).is_file()]
        ids = [self.boxes and self.boxes.image_id(i.name) for i in done]
        if None in ids:
            ids = [int(i.key) if i.key.isdecimal() and not i.frames else None for i in done]
        number = persons = 0
        with JsonListWriter(path) as file:
            for item, image_id in zip(done, ids):
                frames = read_json_list(item.prediction(self.out))
                if not item.frames:
                    frames = [dict(instances=list(frames))]
                for frame in frames:
                    number += 1
                    for result in to_coco(
                        frame['instances'],
                        number if None in ids else image_id,
                        item.name,
                        frame.get('frame_id'),
                    ):
                        file.write(result)
                        persons += 1
        return persons

    def run(self) -> tuple[list[str], int]:
        """Process all inputs that are not done yet.

        Returns:
            tuple: Lines to print, and the exit status: 1 if an input could
            not be read.

        Raises:
            InputError: If none of the inputs can be read.
        """
        lines, skipped = [], []
        before = frames = 0
        single = len(self.inputs) == 1
        progress = tqdm(self.inputs, unit='file', disable=single)
        for item in progress:
            if self.is_done(item):
                before += 1
                continue
            try:
                run = self.run_video if item.frames else self.run_image
                count, persons = run(item)
            except UnreadableError as error:
                skipped.append(f'skipped: {error}')
                continue
            frames += count
            if single and not item.frames:
                lines += person_tables(
                    self.pose.meta.keypoint_names, persons.keypoints, persons.scores
                )
        if len(skipped) == len(self.inputs):
            raise InputError(
                skipped[0].partition(' ')[2]
                if single
                else f'none of the files in {self.args.input} can be read'
            )
        results = self.out / 'results.json'
        persons = self.merge(results)
        picture = self.inputs[0].picture(self.out)
        prediction = self.inputs[0].prediction(self.out)
        now = len(self.inputs) - before - len(skipped)
        lines += skipped
        lines.append(
            f'files: {now} done, {before} done before, '
            f'{len(skipped)} skipped; {frames} images and frames '
            f'now, {persons} persons in all'
        )
        if not self.args.no_draw:
            lines.append(f'drawn   {picture if single else picture.parent}')
        lines += [f'MMPose  {prediction if single else prediction.parent}', f'COCO    {results}']
        return lines, int(bool(skipped))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog='lpn-pose',
        description='Find the poses in photographs, videos or from a camera: '
        "drawn, and as JSON in MMPose's and in COCO's format. A second call "
        'goes on where the first was interrupted.',
        epilog='exit status: 0 all done, 1 some files could not be read, 2 nothing could be done',
    )
    parser.add_argument(
        'input',
        help=f'image ({", ".join(IMAGE_SUFFIXES)}), video, folder of them, '
        'number of a camera, or URL of a stream',
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='folder of the results')
    parser.add_argument(
        '--model',
        default=DEFAULT_MODEL,
        help='exported pose model, .onnx or .xml: a path, or the name of one '
        'in the package (default: %(default)s)',
    )
    parser.add_argument(
        '--backend', choices=('onnxruntime', 'openvino'), help="default: by the model's suffix"
    )
    parser.add_argument('--threads', type=int, help='of the engine; default: all CPUs')
    parser.add_argument(
        '--bboxes',
        metavar='FILE',
        help="JSON of the persons' boxes: COCO annotations, COCO results, or "
        '{"photo.jpg": [[x1, y1, x2, y2], ...]}',
    )
    parser.add_argument(
        '--det',
        metavar='MODEL',
        help="exported detector of persons; default: the whole image is one person's box",
    )
    parser.add_argument(
        '--det-thr',
        type=float,
        default=0.3,
        help='score of a box to be used (default: %(default)s)',
    )
    parser.add_argument(
        '--nms-thr',
        type=float,
        default=0.3,
        help='overlap of two boxes of which one is dropped (default: %(default)s)',
    )
    parser.add_argument(
        '--track',
        action='store_true',
        help='videos: follow the persons by their keypoints, and detect only '
        f'when one is lost and every {DETECT_EVERY} frames',
    )
    parser.add_argument(
        '--smooth', action='store_true', help='videos: smooth the keypoints over time'
    )
    parser.add_argument('--max-frames', type=int, help='of a video or camera; default: all')
    parser.add_argument(
        '--kpt-thr',
        type=float,
        default=0.3,
        help='score of a keypoint to be drawn (default: %(default)s)',
    )
    parser.add_argument('--no-draw', action='store_true', help='write JSON alone')
    parser.add_argument('--overwrite', action='store_true', help='do what is done again')
    args = parser.parse_args(argv)
    for name in ('threads', 'max_frames'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be positive, got {value}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run ``lpn-pose`` and return its exit status."""
    args = parse_args(argv)
    # OpenCV and FFmpeg would report unreadable files in their own words
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    cv2.setLogLevel(0)
    try:
        lines, status = App(args).run()
    except InputError as error:
        fail(error)
    except KeyboardInterrupt:
        print('interrupted: the same command goes on from here', file=sys.stderr)
        return 130
    print('\n'.join(lines))
    return status


if __name__ == '__main__':
    sys.exit(main())

"""The command ``lpn-pose``: poses in photographs, videos and from cameras."""

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from ..errors import InputError, fail, print_lines
from ..version import __version__
from .detector import PersonDetector
from .download import known_detectors
from .drawing import draw_poses
from .engines import cpu_count, find_exported_model
from .formats import CsvWriter, remove_openpose, write_openpose
from .layouts import LAYOUTS
from .locking import folder_locked
from .media import (
    IMAGE_SUFFIXES,
    FrameReader,
    Input,
    VideoWriter,
    find_inputs,
    person_tables,
    read_image,
    replace_file,
    silence_decoders,
    write_image,
)
from .pipeline import Pipeline
from .pose import DEFAULT_MODEL, PoseRuntime
from .results import BoxFile, JsonListWriter, read_json, read_json_list, to_coco, to_mmpose
from .tracking import (
    FindBoxes,
    KeypointSmoother,
    Persons,
    PoseTracker,
    find_persons,
    find_whole_image,
)
from .workers import run_apart

#: Layouts of the results beside MMPose's and COCO's.
FORMATS = ('csv', 'openpose')
WHOLE_PICTURE = (
    'note: without --det and --bboxes each whole picture is taken as one person; '
    '--det yolox-nano finds the persons first'
)
#: What decides the results; a folder holds those of one choice.
SETTINGS = (
    'model',
    'backend',
    'layout',
    'bboxes',
    'bbox_thr',
    'bbox_category',
    'det',
    'det_input',
    'det_thr',
    'nms_thr',
    'track',
    'detect_every',
    'smooth',
    'max_frames',
    'kpt_thr',
)


def content_of(path: str | Path | None) -> str | None:
    """Return a file's name and what tells its content from another's, for an .xml the .bin's too.

    Raises:
        InputError: If it cannot be read.
    """
    if path is None:
        return None
    digest = hashlib.sha256()
    try:
        digest.update(Path(path).read_bytes())
        weights = Path(path).with_suffix('.bin')
        if Path(path).suffix == '.xml' and weights.is_file():
            digest.update(weights.read_bytes())
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error.strerror}') from error
    return f'{Path(path).name} (sha256 {digest.hexdigest()[:16]})'


def read_options(texts: list[str]) -> dict[str, str]:
    """Read what --det-input was given.

    Raises:
        InputError: If one is not as ``name=value``.
    """
    options = dict(text.partition('=')[::2] for text in texts)
    for name, value in options.items():
        if not value:
            raise InputError(f'--det-input takes name=value, such as size=640x640, and got {name}')
    return options


class Window:
    """A window for pictures, where there is a display.

    Raises:
        InputError: If there is none.
    """

    def __init__(self) -> None:
        if sys.platform.startswith('linux') and not (
            os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
        ):
            raise InputError(
                '--show needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set'
            )
        try:
            cv2.namedWindow('lpn-pose', cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise InputError(
                '--show needs an OpenCV with windows: pip uninstall opencv-python-headless, then '
                'pip install opencv-python'
            ) from error

    def show(self, picture: np.ndarray, wait: bool = False) -> bool:
        """Show a picture, until a key is pressed if ``wait``; close for q or Escape: False."""
        cv2.imshow('lpn-pose', picture)
        stays = cv2.waitKey(0 if wait else 1) & 0xFF not in (ord('q'), 27)
        if not stays:
            cv2.destroyWindow('lpn-pose')
        return stays


class Outcome(NamedTuple):
    """What became of an input.

    Args:
        frames (int): Images and frames done.
        tables (tuple[str]): Tables of the persons of a single image.
        reason (str, optional): Why it was skipped; None if it was not.
        lost (str, optional): What could not be read of it; None for all else.
    """

    frames: int = 0
    tables: tuple[str, ...] = ()
    reason: str | None = None
    lost: str | None = None


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
        self.inputs = find_inputs(args.input, self.out)
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
        self.boxes = None
        if args.bboxes:
            self.boxes = BoxFile(args.bboxes, args.bbox_thr, args.bbox_category)
            if not self.boxes.assign({item.name: str(item.source) for item in self.inputs}):
                raise InputError(f'{args.bboxes} has no box for {args.input}')
        if args.det_input and not args.det:
            raise InputError('--det-input is of a detector: give --det too')
        if args.show and (args.workers > 1 or args.no_draw):
            raise InputError('--show cannot be with --workers or --no-draw')
        self.window = Window() if args.show else None
        self.threads = args.threads or max(cpu_count() // args.workers, 1)
        self.pose = PoseRuntime(args.model, args.backend, self.threads, layout=args.layout)
        self.detector = None
        if args.det:
            self.detector = PersonDetector(
                args.det,
                args.backend,
                self.threads,
                args.det_thr,
                args.nms_thr,
                read_options(args.det_input),
            )

    def _prepare_out(self) -> None:
        """Refuse to mix results of different settings."""
        args = self.args
        settings = {name: getattr(args, name) for name in SETTINGS}
        settings['model'] = content_of(find_exported_model(args.model))
        settings['det'] = content_of(self.detector and self.detector.path)
        settings['bboxes'] = content_of(args.bboxes)
        settings['version'] = __version__
        path, self._ledger = self.out / 'settings.json', self.out / 'done.jsonl'
        self._done = {}
        if path.is_file() and not args.overwrite:
            try:
                before = read_json(path)
            except InputError:
                before = None
            if not isinstance(before, dict):
                raise InputError(f'{path} is damaged: give another folder, or --overwrite')
            for name, value in settings.items():
                if before.get(name) != value:
                    raise InputError(
                        f'--out {self.out} holds results with {name} '
                        f'{before.get(name)}, and now it is {value}: give '
                        'another folder, or --overwrite'
                    )
            self._done = self._read_ledger()
        try:
            if args.overwrite:
                self._ledger.unlink(missing_ok=True)
                for item in self.inputs:
                    self.prediction(item).unlink(missing_ok=True)
            replace_file(path, json.dumps(settings).encode())
        except OSError as error:
            raise InputError(f'--out {self.out} cannot be written: {error}') from error
        for item in self.inputs:
            done = self._done.get(item.key)
            if not done or item.live:
                continue
            record = self._record(item)
            if record['file'] != done['file'] and record['stamp'] != done['stamp']:
                raise InputError(
                    f'--out {self.out} holds results of {done["file"]}, and {item.source} '
                    'would have the same names: give another folder, or --overwrite'
                )

    def _read_ledger(self) -> dict[str, dict]:
        """Return what was done before by key; a line that a full disk cut off is not."""
        done = {}
        if self._ledger.is_file():
            for line in self._ledger.read_text().splitlines():
                try:
                    record = json.loads(line)
                    fields = dict(file=record['file'], stamp=record['stamp'])
                    done[record['key']] = dict(fields, lost=record.get('lost'))
                except (KeyError, TypeError, ValueError):
                    continue
        return done

    @staticmethod
    def _record(item: Input) -> dict:
        return dict(file=str(Path(item.source).resolve()), stamp=list(item.stamp()))

    def _mark_done(self, item: Input, record: dict) -> None:
        with self._ledger.open('a') as file:
            file.write('\n' + json.dumps(dict(key=item.key, **record)))

    def prediction(self, item: Input) -> Path:
        """Return the path of an input's result as JSON."""
        return self.out / 'predictions' / f'{item.key}.json'

    def picture(self, item: Input) -> Path:
        """Return the path of an input's drawn result."""
        return item.picture(self.out / 'visualizations')

    def is_done(self, item: Input) -> bool:
        """Tell whether an earlier run has finished with just this file."""
        return (
            not item.live
            and item.key in self._done
            and self._done[item.key]['stamp'] == list(item.stamp())
            and self.prediction(item).is_file()
            and (self.args.no_draw or self.picture(item).is_file())
        )

    def find_boxes(self, item: Input, frame: Callable[[], int] | None = None) -> FindBoxes:
        """Return what finds the persons in an image or a frame of a video."""
        if self.boxes is not None:
            boxes = self.boxes
            return lambda image: boxes.get(item.name, frame and frame())
        return self.detector or find_whole_image

    def draw(self, image: np.ndarray, persons: Persons) -> np.ndarray:
        """Return the image, which nobody needs any more, with the persons drawn."""
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
            in_place=True,
        )

    def run_image(self, item: Input) -> Outcome:
        """Write the results of an image.

        Raises:
            InputError: If it cannot be read.
            OSError: If the results cannot be written.
        """
        image = read_image(item.source)
        if self.boxes:
            self.boxes.check_size(item.name, image.shape[1::-1])
        boxes, box_scores = self.find_boxes(item)(image)
        persons = Persons(*self.pose(image, boxes), boxes, box_scores)
        if not self.args.no_draw:
            picture = self.draw(image, persons)
            write_image(self.picture(item), picture)
            if self.window and not self.window.show(picture, wait=True):
                self.window = None
        with JsonListWriter(self.prediction(item)) as file:
            for instance in to_mmpose(persons):
                file.write(instance)
        if len(self.inputs) > 1:  # nobody would read them
            return Outcome(1)
        names = self.pose.meta.keypoint_names
        return Outcome(1, tuple(person_tables(names, persons.keypoints, persons.scores)))

    def run_video(self, item: Input) -> Outcome:
        """Write the results of a video or a camera, of this until Ctrl-C.

        Raises:
            InputError: If no frame can be read.
            OSError: If the results cannot be written.
        """
        frames = FrameReader(item, self.args.max_frames)
        drawn = nullcontext() if self.args.no_draw else VideoWriter(self.picture(item), frames.fps)
        count = 0

        with (
            JsonListWriter(self.prediction(item)) as file,
            drawn,
            tqdm(
                total=frames.total,
                unit='frame',
                desc=item.name,
                leave=False,
                disable=self.args.workers > 1 or None,
            ) as progress,
            frames.ended_by_interrupt(),
        ):
            for image, persons in self._find_poses(item, frames):
                picture = None
                if not self.args.no_draw:
                    picture = self.draw(image, persons)
                    drawn.write(picture)
                file.write(dict(frame_id=count, instances=to_mmpose(persons)))
                count += 1
                progress.update()
                if self.window and not self.window.show(picture):
                    self.window = None
                    if item.live:
                        frames.end()
        return Outcome(count, lost=frames.lost(count))

    def _find_poses(self, item: Input, frames: FrameReader) -> Iterable[tuple[np.ndarray, Persons]]:
        """Return a video's frames with their persons; threads read and work ahead."""
        current, tracker, smooth = 0, None, None
        find_boxes = self.find_boxes(item, lambda: current)
        if self.args.track or self.args.smooth:
            tracker = PoseTracker(
                self.pose,
                find_boxes,
                reuse_boxes=self.args.track,
                find_every=self.args.detect_every if self.detector or self.boxes else None,
            )
        if self.args.smooth:
            smooth = KeypointSmoother(frames.fps)

        def counted():
            nonlocal current
            for current, image in enumerate(Pipeline(frames)):
                yield image

        def frames_found():
            with closing(counted()) as images:
                if not tracker:
                    yield from find_persons(images, find_boxes, self.pose, min(self.threads, 8))
                elif item.live:  # its pictures come sooner if nothing is ahead of them
                    for image in images:
                        yield image, tracker(image)
                else:
                    yield from tracker.track(images)

        def boxes_of(numbered):
            nonlocal current
            current, image = numbered
            return image, *find_boxes(image)

        def poses_of(found):
            image, boxes, box_scores = found
            return image, Persons(*self.pose(image, boxes), boxes, box_scores)

        def smoothed(found):
            image, persons = found
            return image, smooth(persons)

        if item.live and not tracker:
            return Pipeline(enumerate(frames), boxes_of, poses_of)
        return Pipeline(frames_found(), *([smoothed] if smooth else []))

    def merge(self, path: Path) -> int:
        """Write all inputs' results in COCO's format; return the persons.

        ``image_id`` is that of the annotations given by ``--bboxes``; or the
        number in every file's name; or else images and frames are counted.
        """
        done = [i for i in self.inputs if self.prediction(i).is_file()]
        ids = [self.boxes and self.boxes.image_id(i.name) for i in done]
        if not any(i is not None for i in ids):  # a file that has none has no boxes either
            ids = [int(i.key) if i.key.isdecimal() and not i.frames else None for i in done]
            if None in ids:
                ids = itertools.repeat(None)
        number = persons = 0
        names, formats = self.pose.meta.keypoint_names, self.args.format
        table = CsvWriter(self.out / 'results.csv', names) if 'csv' in formats else nullcontext()
        with JsonListWriter(path) as file, table:
            for item, image_id in zip(done, ids):
                frames = read_json_list(self.prediction(item))
                if 'openpose' in formats and item.frames:
                    remove_openpose(self.out / 'openpose', item.key)
                if not item.frames:
                    frames = [dict(instances=list(frames))]
                for frame in frames:
                    number += 1
                    instances, frame_id = frame['instances'], frame.get('frame_id')
                    if 'csv' in formats:
                        table.write(item.name, frame_id, instances)
                    if 'openpose' in formats:
                        write_openpose(self.out / 'openpose', item.key, frame_id, instances, names)
                    for result in to_coco(
                        instances, number if image_id is None else image_id, item.name, frame_id
                    ):
                        file.write(result)
                        persons += 1
        return persons

    def process(self, item: Input) -> Outcome:
        """Process an input and note that it is done.

        Raises:
            OSError: If results cannot be written.
        """
        try:
            record = None if item.live else self._record(item)
            outcome = (self.run_video if item.frames else self.run_image)(item)
        except (ValueError, cv2.error) as error:
            reason = str(error)
            named = str(item.source) in reason
            return Outcome(reason=reason if named else f'{item.source}: {reason}')
        if record:
            self._mark_done(item, dict(record, lost=outcome.lost))
        return outcome

    def _outcomes(self, items: list[Input]) -> Iterator[tuple[Input, Outcome | None]]:
        workers = min(self.args.workers, len(items))
        if workers > 1:
            yield from run_apart(self.process, items, workers)
        else:
            yield from ((item, self.process(item)) for item in items)

    def run(self) -> tuple[list[str], int]:
        """Process all inputs that are not done yet.

        Returns:
            tuple: Lines to print, and the exit status: 1 if an input or an entry of the box file
            could not be used.

        Raises:
            InputError: If none of the inputs can be used.
            OSError: If results cannot be written.
        """
        try:
            for folder in ('visualizations', 'predictions'):
                (self.out / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f'--out {self.out} cannot be written: {error}') from error
        try:
            with folder_locked(self.out):
                self._prepare_out()
                return self._run()
        except BlockingIOError:
            raise InputError(
                f'--out {self.out} is in use by another lpn-pose: wait, or give another folder'
            ) from None

    def _run(self) -> tuple[list[str], int]:
        lines, skipped, lost, todo = [], [], [], []
        before = frames = 0
        single = len(self.inputs) == 1
        for item in self.inputs:
            try:
                done = self.is_done(item)
            except InputError:  # process() says why
                done = False
            if done:
                before += 1
                if self._done[item.key]['lost']:
                    lost.append(self._done[item.key]['lost'])
            else:
                todo.append(item)
        progress = tqdm(
            self._outcomes(todo),
            total=len(self.inputs),
            initial=before,
            unit='file',
            disable=single or None,
        )
        for item, outcome in progress:
            if outcome is None:
                outcome = Outcome(reason=f'{item.source}: the process died on it twice')
            if outcome.reason:
                skipped.append(outcome.reason)
                self.prediction(item).unlink(missing_ok=True)  # of another file under its name
            if outcome.frames and not frames and not (self.args.det or self.args.bboxes):
                progress.write(WHOLE_PICTURE, file=sys.stderr)
            frames += outcome.frames
            if outcome.lost:
                lost.append(outcome.lost)
            lines += outcome.tables
        if len(skipped) == len(self.inputs):
            raise InputError(
                skipped[0] if single else f'none of the files in {self.args.input} can be read'
            )
        results = self.out / 'results.json'
        persons = self.merge(results)
        picture = self.picture(self.inputs[0])
        prediction = self.prediction(self.inputs[0])
        now = len(self.inputs) - before - len(skipped)
        lines += [f'skipped: {reason}' for reason in skipped]
        lines += [f'incomplete: {what}' for what in lost]
        left_out = self.boxes.report() if self.boxes else ''
        if left_out:
            lines.append(f'boxes left out: {left_out}')
        missing = self.boxes.missing() if self.boxes else []
        if missing:
            lines.append(
                f'without boxes: {len(missing)} files are not named in {self.boxes.path} '
                f'(the first: {missing[0]})'
            )
        lines.append(
            f'files: {now} done, {before} done before, '
            f'{len(skipped)} skipped; {frames} images and frames '
            f'now, {persons} persons in all'
        )
        if not self.args.no_draw:
            lines.append(f'drawn   {picture if single else self.out / "visualizations"}')
        folder = self.out / 'predictions'
        lines += [f'MMPose  {prediction if single else folder}', f'COCO    {results}']
        if 'csv' in self.args.format:
            lines.append(f'CSV     {self.out / "results.csv"}')
        if 'openpose' in self.args.format:
            lines.append(f'OpenPose {self.out / "openpose"}')
        unused = missing or (self.boxes and self.boxes.left_out)
        return lines, int(bool(skipped or lost or unused))


def share(text: str) -> float:
    """Return a number from 0 to 1, as ``argparse`` wants it."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not from 0 to 1')
    return value


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog='lpn-pose',
        description='Find the poses in photographs, videos or from a camera: '
        "drawn, and as JSON in MMPose's and in COCO's format. A second call "
        'goes on where the first was interrupted.',
        epilog='exit status: 0 all done; 1 some files or boxes could not be used, or not wholly; '
        '2 nothing could be done; 3 the results cannot be written, what is done stays; '
        '130 interrupted',
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
    parser.add_argument(
        '--layout',
        choices=tuple(LAYOUTS),
        help="keypoints of another data set; default: the model's own",
    )
    parser.add_argument('--threads', type=int, help='of the engine; default: all CPUs')
    parser.add_argument(
        '--bboxes',
        metavar='FILE',
        help="JSON of the persons' boxes: COCO annotations, COCO results, or "
        '{"photo.jpg": [[x1, y1, x2, y2], ...]}',
    )
    parser.add_argument(
        '--bbox-thr',
        type=float,
        default=0.3,
        help="score of a box in --bboxes to be a person's (default: %(default)s)",
    )
    parser.add_argument(
        '--bbox-category',
        metavar='NAME',
        help='name or id of the category of persons in --bboxes; default: person, or id 1',
    )
    parser.add_argument(
        '--det',
        metavar='MODEL',
        help=f'detector of persons: {", ".join(known_detectors())}, downloaded at the first use, '
        'or an ONNX file of ours, of MMDeploy or of YOLOX; default: the whole picture is one '
        "person's box",
    )
    parser.add_argument(
        '--det-input',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='what a detector of another project takes where its files do not say it: size=WxH, '
        'mean=B,G,R, std=B,G,R, order=bgr or rgb, pad=114, fit=top-left, center or stretch, '
        'person=0 (number of the class); or like=NAME of one that --det knows',
    )
    parser.add_argument(
        '--det-thr',
        type=share,
        default=0.3,
        help='score of a box to be used (default: %(default)s)',
    )
    parser.add_argument(
        '--nms-thr',
        type=share,
        default=0.3,
        help='overlap of two boxes of which one is dropped (default: %(default)s)',
    )
    parser.add_argument(
        '--track',
        action='store_true',
        help='videos: follow the persons by their keypoints, and detect only '
        'when one is lost and every --detect-every frames',
    )
    parser.add_argument(
        '--detect-every',
        type=int,
        default=30,
        metavar='N',
        help='frames between two runs of the detector with --track (default: %(default)s)',
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
    parser.add_argument(
        '--format',
        nargs='+',
        choices=FORMATS,
        default=[],
        help="layouts beside MMPose's and COCO's: csv has a row for each person and frame, "
        "openpose a file for each image or frame, in OpenPose's order BODY_25",
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=1,
        metavar='N',
        help='processes that share the files, each with its part of the CPUs '
        '(default: %(default)s); for many files, as many as there are CPUs',
    )
    parser.add_argument(
        '--show', action='store_true', help='show the pictures; q or Escape closes the window'
    )
    parser.add_argument('--no-draw', action='store_true', help='write JSON alone')
    parser.add_argument('--overwrite', action='store_true', help='do what is done again')
    args = parser.parse_args(argv)
    for name in ('threads', 'max_frames', 'detect_every', 'workers'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be positive, got {value}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run ``lpn-pose`` and return its exit status."""
    args = parse_args(argv)
    silence_decoders()
    try:
        lines, status = App(args).run()
    except InputError as error:
        fail(error)
    except OSError as error:
        print(
            f'error: the results cannot be written: {error}; what is done stays, and the same '
            'command goes on from here',
            file=sys.stderr,
        )
        return 3
    except KeyboardInterrupt:
        print('interrupted: the same command goes on from here', file=sys.stderr)
        return 130
    print_lines(lines)
    return status


if __name__ == '__main__':
    sys.exit(main())

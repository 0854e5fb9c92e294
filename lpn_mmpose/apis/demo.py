"""What ``tools/demo.py`` does: poses in photographs and videos, as pictures."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.apis import MMPoseInferencer
from mmpose.structures import PoseDataSample
from tqdm import tqdm

from ..errors import InputError
from ..runtime import PersonDetector
from ..runtime.download import known_detectors
from ..runtime.media import (
    FrameReader,
    Input,
    VideoWriter,
    find_inputs,
    person_tables,
    read_image,
    silence_decoders,
    write_image,
)
from ..runtime.results import JsonListWriter

#: Of the inferencer, which takes boxes that score more.
BBOX_THR = 0.3


class FoundBoxes:
    """Hands the runtime's boxes to MMPose's inferencer, in the place of MMDet's detector.

    Args:
        model (str): What :class:`PersonDetector` takes.
    """

    def __init__(self, model: str) -> None:
        self._detector = PersonDetector(model)
        # where the inferencer leaves out all boxes, it takes the whole image for a person
        self._detector.score_thr = max(self._detector.score_thr, BBOX_THR)

    def find(self, image: np.ndarray) -> int:
        """Find the persons of an image that is given to the inferencer next; return how many."""
        boxes, scores = self._detector(image)
        self._found = InstanceData(
            bboxes=torch.from_numpy(boxes),
            scores=torch.from_numpy(scores),
            labels=torch.zeros(len(boxes), dtype=torch.long),
        )
        return len(boxes)

    def __call__(self, image: np.ndarray, return_datasamples: bool = True) -> dict:
        """Return what was found, as ``mmdet.apis.DetInferencer`` does."""
        return dict(predictions=[PoseDataSample(pred_instances=self._found)])


def run(args: argparse.Namespace) -> tuple[list[str], int]:
    """Draw the poses of all inputs and write them as JSON.

    Args:
        args (Namespace): ``input``, ``model``, ``weights``, ``det_model``,
            ``det_weights``, ``device`` and ``out_dir`` of ``tools/demo.py``.

    Returns:
        tuple: Lines to print (the keypoints of a single image, else a line
        for each file, and the paths of what was written), and the exit
        status: 1 if a file could not be used, or not wholly.

    Raises:
        InputError: If an input, of a folder all of them, or a model cannot be used.
        OSError: If the results cannot be written.
    """
    silence_decoders()
    out_dir = Path(args.out_dir)
    inputs = find_inputs(args.input, out_dir)
    given = Path(args.input)
    if not given.is_dir() and out_dir.resolve() == given.parent.resolve():
        raise InputError(
            f'--out-dir {out_dir} is the folder of the input, which would be drawn over; '
            'give another'
        )
    single = len(inputs) == 1
    # say so before the model is loaded
    if single and not inputs[0].live:
        next(iter(_pictures(inputs[0])))
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'--out-dir {out_dir} cannot be written: {error}') from error
    detector, det_model = None, args.det_model
    if det_model in known_detectors() or Path(det_model).suffix in ('.onnx', '.xml', '.zip'):
        detector, det_model = FoundBoxes(det_model), 'whole_image'
    elif det_model == 'whole_image':
        print(
            'note: without a detector the whole picture is taken as one person; '
            '--det-model yolox-nano (make demo DET=yolox-nano) finds the persons first',
            file=sys.stderr,
        )
    # MMEngine prints what it loads
    with redirect_stdout(sys.stderr), unusable_in_one_line(args):
        inferencer = MMPoseInferencer(
            pose2d=args.model,
            pose2d_weights=args.weights,
            det_model=det_model,
            det_weights=args.det_weights,
            det_cat_ids=[0],
            device=args.device,
            show_progress=False,
        )
    if detector:
        inferencer.inferencer.detector = detector
        inferencer.inferencer.det_cat_ids = (0,)
    names = inferencer.inferencer.model.dataset_meta['keypoint_id2name']
    lines, skipped, incomplete = [], [], []
    for item in tqdm(inputs, unit='file', disable=single):
        picture, prediction = item.picture(out_dir), out_dir / f'{item.key}.json'
        try:
            count, persons, total, lost = run_input(item, inferencer, detector, picture, prediction)
        except InputError as error:
            skipped.append(error)
            lines.append(f'skipped: {error}')
            continue
        if single and not item.frames:
            lines += person_tables(
                [names[i] for i in range(len(names))],
                [person['keypoints'] for person in persons],
                [person['keypoint_scores'] for person in persons],
            )
        else:
            lines.append(f'{item.source}: frames {count}, persons {total}')
        if lost:
            incomplete.append(lost)
            lines.append(f'incomplete: {lost}')
        lines += [f'drawn  {picture}', f'JSON   {prediction}']
    if len(skipped) == len(inputs):
        raise skipped[0] if single else InputError(f'none of the files in {args.input} can be read')
    if not single:
        lines.append(f'files: {len(inputs) - len(skipped)} done, {len(skipped)} skipped')
    return lines, int(bool(skipped or incomplete))


@contextmanager
def unusable_in_one_line(args: argparse.Namespace) -> Iterator[None]:
    """Say in one line that a model's name or the device cannot be used.

    Raises:
        InputError: Instead of MMEngine's or PyTorch's own error.
    """
    try:
        yield
    except ValueError as error:
        if 'Cannot find model' not in str(error):
            raise
        raise InputError(
            f'{error}: --model takes lpn50-body, lpn50-lsp, another name that MMPose knows, or a '
            f'config; --det-model {", ".join(known_detectors())}, an ONNX file, or a config or '
            'name of MMDet'
        ) from error
    except (RuntimeError, AssertionError) as error:
        if args.device == 'cpu':
            raise
        reason = str(error).strip().splitlines()[0]
        raise InputError(f'--device {args.device} cannot be used: {reason}') from error


def _pictures(item: Input):
    return FrameReader(item) if item.frames else [read_image(item.source)]


def run_input(
    item: Input,
    inferencer: MMPoseInferencer,
    detector: FoundBoxes | None,
    picture: Path,
    prediction: Path,
) -> tuple[int, list[dict], int, str | None]:
    """Write the results; return frames, the last one's persons, all persons, what was lost."""

    def infer(image: np.ndarray) -> tuple[list[dict], np.ndarray]:
        if detector and not detector.find(image):
            return [], image
        width = max(round(max(image.shape[:2]) / 200), 1)
        drawing = dict(return_vis=True, thickness=width, radius=width + 2)
        result = next(inferencer(image, bbox_thr=BBOX_THR, **drawing))
        return result['predictions'][0], result['visualization'][0][..., ::-1]

    if not item.frames:
        persons, drawn = infer(read_image(item.source))
        write_image(picture, drawn)
        with JsonListWriter(prediction) as file:
            for person in persons:
                file.write(person)
        return 1, persons, len(persons), None
    frames, count, total = FrameReader(item), 0, 0
    with (
        JsonListWriter(prediction) as file,
        VideoWriter(picture, frames.fps) as video,
        frames.ended_by_interrupt(),
    ):
        for image in frames:
            persons, drawn = infer(image)
            video.write(np.ascontiguousarray(drawn))
            file.write(dict(frame_id=count, instances=persons))
            count, total = count + 1, total + len(persons)
    return count, persons, total, frames.lost(count)

"""Detectors of other projects: what their ONNX files take and what they give.

Such a file says little of itself. The kind is told by its outputs, in pixels
of the input and B images:

===================  ====================================================
kind                 outputs
===================  ====================================================
``dets``             boxes x1, y1, x2, y2 and score (B, M, 5), and labels
                     (B, M), if there is more than one class; as MMDeploy
                     writes them, and YOLOX with suppression in the graph
``num_dets``         the number (B, 1) of boxes, boxes x1, y1, x2, y2
                     (B, M, 4), scores (B, M) and labels (B, M); as MMYOLO
                     and TensorRT's plugin write them
``yolox``            YOLOX's rows of box, objectness and class scores
                     (B, A, 5 + classes), one for each cell of the grids;
                     centres and logarithms of sizes counted in cells,
                     or boxes decoded in the graph
===================  ====================================================

How images go in comes from what the user says, or the ``pipeline.json`` that
MMDeploy writes beside the file, or the table of known detectors. YOLOX's kind
alone needs none of them, because all its models take the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import InputError
from .engines import Tensor
from .model_meta import MAX_SIDE, DetectionMeta

#: Where in the network's input the image is put.
FITS = ('top-left', 'center', 'stretch')
#: Strides of YOLOX's grids, of its models for usual and for large inputs.
YOLOX_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
#: Name of MMDeploy's file about an exported file.
PIPELINE = 'pipeline.json'
HOW = (
    'give it by --det-input in the command or input= in Python: size=640x640 mean=103.5,116.3,123.7'
    ' std=57.4,57.1,58.4, or like=rtmdet-m for all that a detector of the table takes'
)


@dataclass(frozen=True)
class InputFormat:
    """How images go into a detector; None where nothing is known.

    Args:
        size (tuple[int, int], optional): Width and height in pixels.
        mean (tuple[float], optional): Subtracted, a value a channel.
        std (tuple[float], optional): Divided by, a value a channel.
        order (str, optional): Order of the channels, ``'bgr'`` or ``'rgb'``.
        pad (int, optional): Value of the padding.
        fit (str, optional): Where in the padding the image lies,
            ``'top-left'`` or ``'center'``; ``'stretch'`` for an image that
            is resized without regard to its aspect ratio.
        person (int, optional): Number of the class of persons.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    order: str | None = None
    pad: int | None = None
    fit: str | None = None
    person: int | None = None

    def over(self, other: 'InputFormat') -> 'InputFormat':
        """Return what this says, and what ``other`` says where this says nothing."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: value for name, value in said.items() if value is not None})

    def missing(self) -> list[str]:
        """Return the names of what nothing is known of."""
        return [f.name for f in fields(self) if getattr(self, f.name) is None]


#: What most files leave out and nearly all share.
USUAL = InputFormat(order='bgr', pad=114, fit='top-left', person=0)
#: What every YOLOX takes.
YOLOX = InputFormat(mean=(0.0,) * 3, std=(1.0,) * 3)


def _numbers(value: Any, count: int, kind=float) -> tuple:
    if isinstance(value, str):
        value = value.replace('x', ',').split(',')
    values = tuple(kind(v) for v in (value if isinstance(value, (list, tuple)) else [value]))
    if len(values) == 1:
        values *= count
    if len(values) != count:
        raise ValueError(f'{count} values are needed')
    return values


def _choice(value: Any, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(f'one of {", ".join(choices)} is needed')
    return value


def _size(value: Any) -> tuple[int, int]:
    size = _numbers(value, 2, int)
    if not all(0 < side <= MAX_SIDE for side in size):
        raise ValueError(f'sides are from 1 to {MAX_SIDE}')
    return size


def _positive(values: tuple) -> tuple:
    if min(values) <= 0:
        raise ValueError('only positive values make sense')
    return values


_PARSERS = dict(
    size=_size,
    mean=lambda v: _numbers(v, 3),
    std=lambda v: _positive(_numbers(v, 3)),
    order=lambda v: _choice(v, ('bgr', 'rgb')),
    pad=lambda v: int(v),
    fit=lambda v: _choice(v, FITS),
    person=lambda v: int(v),
)


def parse_input(values: dict[str, Any]) -> InputFormat:
    """Read an :class:`InputFormat` from texts or from JSON's values.

    Args:
        values (dict): Names of its fields to ``'640x480'``, ``[640, 480]``
            and the like.

    Raises:
        InputError: If a name or a value is no such.
    """
    parsed = {}
    for name, value in values.items():
        if name not in _PARSERS:
            raise InputError(
                f"a detector's input has no {name!r}: it has {', '.join(_PARSERS)} and like"
            )
        try:
            parsed[name] = _PARSERS[name](value)
        except (TypeError, ValueError) as error:
            raise InputError(f"a detector's input cannot have {name}={value}: {error}") from error
    return InputFormat(**parsed)


def read_pipeline(path: Path) -> InputFormat:
    """Read how images go in from MMDeploy's ``pipeline.json``.

    Args:
        path (Path): The file. Sizes in it are in the order h, w.

    Raises:
        InputError: If the file is damaged or has no transforms.
    """
    try:
        tasks = json.loads(path.read_text())['pipeline']['tasks']
        (transforms,) = (task['transforms'] for task in tasks if 'transforms' in task)
        values: dict[str, Any] = {}
        for transform in transforms:
            kind = transform['type']
            size = transform.get('size') or transform.get('scale')
            if kind in ('Resize', 'LetterResize', 'YOLOv5KeepRatioResize') and size:
                values['size'] = _numbers(size, 2, int)[::-1]
                if not transform.get('keep_ratio', kind != 'Resize'):
                    values['fit'] = 'stretch'
            if kind in ('Pad', 'LetterResize'):
                pad = transform.get('pad_val', 0)
                values['pad'] = _numbers(pad['img'] if isinstance(pad, dict) else pad, 3)[0]
                values.setdefault('fit', 'center' if kind == 'LetterResize' else 'top-left')
            if kind == 'Normalize':
                values.update(mean=transform['mean'], std=transform['std'])
                values['order'] = 'rgb' if transform.get('to_rgb', True) else 'bgr'
        return parse_input(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{path} is no {PIPELINE} of MMDeploy: {error!r}') from error


@dataclass(frozen=True)
class GraphMeta(DetectionMeta):
    """What is known of another project's detector.

    Args:
        fit (str): See :class:`InputFormat`.
        person (int): Number of the class of persons.
        layout (str): ``'nchw'`` or ``'nhwc'``.
        dtype (str): NumPy's name of the input's type.
        strides (tuple[int]): YOLOX's, or empty.
    """

    fit: str = 'top-left'
    person: int = 0
    layout: str = 'nchw'
    dtype: str = 'float32'
    strides: tuple[int, ...] = ()


def _last(tensor: Tensor) -> int | None:
    return tensor.shape[-1] if tensor.shape else None


def _rank(tensor: Tensor) -> int:
    return len(tensor.shape)


def grid_cells(size: tuple[int, int], strides: Sequence[int]) -> int:
    """Return how many cells YOLOX's grids have on an input of ``size`` (w, h)."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)


def find_kind(outputs: Sequence[Tensor]) -> str | None:
    """Tell a detector's kind by its outputs; None if it is none of them."""
    names = [tensor.name for tensor in outputs]
    if names[:1] == ['num_dets'] and len(outputs) == 4:
        return 'num_dets'
    ranks = [_rank(tensor) for tensor in outputs]
    if ranks in ([3], [3, 2]) and _last(outputs[0]) in (5, None):
        named = names[0] in ('dets', 'boxes', 'bboxes')
        if len(outputs) == 2 and (outputs[1].dtype.startswith('int') or named):
            return 'dets'
        if len(outputs) == 1 and (_last(outputs[0]) == 5 or named):
            return 'dets'
    if ranks == [3] and (_last(outputs[0]) or 0) > 5:
        return 'yolox'
    return None


class Description:
    """Finds out what a graph without this package's metadata takes and gives.

    Args:
        path (Path): Its file.
        given (InputFormat): What the user says.
        known (InputFormat): What the table says.
        score_thr (float): Of the boxes to keep, unless the user says it.
        iou_thr (float): Of non-maximum suppression where the graph has none.
    """

    def __init__(
        self,
        path: Path,
        given: InputFormat,
        known: InputFormat,
        score_thr: float = 0.3,
        iou_thr: float = 0.45,
    ) -> None:
        self.path, self.given, self.known = path, given, known
        self.score_thr, self.iou_thr = score_thr, iou_thr

    def _fail(self, inputs, outputs, why: str) -> InputError:
        return InputError(
            f'model {self.path} is no detector that can be read: {why}. It takes '
            f'{"; ".join(map(str, inputs))} and gives {"; ".join(map(str, outputs))}. Needed is '
            'an export of this package (tools/deployment/export.py), or images '
            '(1, 3, h, w) in and out of it one of: dets (1, M, 5) and labels (1, M), as MMDeploy '
            "writes them; YOLOX's rows (1, A, 5 + classes); num_dets (1, 1), boxes (1, M, 4), "
            'scores (1, M) and labels (1, M)'
        )

    def __call__(self, inputs: list[Tensor], outputs: list[Tensor]) -> GraphMeta:
        """Describe the graph.

        Raises:
            InputError: If it is of no known kind, or too little is known of
                how images go in.
        """
        kind = find_kind(outputs)
        if kind is None:
            raise self._fail(inputs, outputs, 'its outputs are of another kind')
        shape = inputs[0].shape
        channels = [axis for axis in (1, 3) if len(shape) == 4 and shape[axis] == 3]
        if len(inputs) != 1 or not channels or shape[0] not in (1, None):
            raise self._fail(inputs, outputs, 'it takes something else than one image')
        if inputs[0].dtype not in ('float32', 'float16', 'uint8'):
            raise self._fail(inputs, outputs, f'it takes images as {inputs[0].dtype}')
        layout = 'nchw' if channels[0] == 1 else 'nhwc'
        height, width = shape[2:] if layout == 'nchw' else shape[1:3]
        known = self.known
        pipeline = self.path.parent / PIPELINE
        if pipeline.is_file():
            known = read_pipeline(pipeline).over(known)
        if kind == 'yolox':
            known = known.over(YOLOX)
        known = self.given.over(known)
        if height and width:
            if self.given.size and self.given.size != (width, height):
                raise InputError(
                    f'model {self.path} takes images of {width}x{height} alone, and the size given '
                    f'is {self.given.size[0]}x{self.given.size[1]}'
                )
            known = InputFormat(size=(width, height)).over(known)
        known = known.over(USUAL)
        if known.missing():
            raise InputError(
                f'model {self.path} does not say the {" and ".join(known.missing())} of its input, '
                f'nor is there a {PIPELINE} beside it: {HOW}'
            )
        strides = ()
        if kind == 'yolox':
            rows, known_sizes = outputs[0].shape[1], {}
            for candidate in YOLOX_STRIDES:
                if not any(n % candidate[-1] for n in known.size):
                    known_sizes[grid_cells(known.size, candidate)] = candidate
            if rows is None and len(known_sizes):
                rows = min(known_sizes)
            if rows not in known_sizes:
                raise self._fail(
                    inputs,
                    outputs,
                    f'{outputs[0].name} has {rows} rows, and YOLOX has '
                    f'{" or ".join(map(str, known_sizes)) or "none"} at '
                    f'{known.size[0]}x{known.size[1]}',
                )
            strides = known_sizes[rows]
        return GraphMeta(
            input_size=known.size,
            mean=known.mean,
            std=known.std,
            dataset='',
            version='',
            channel_order=known.order,
            outputs=kind,
            pad_value=known.pad,
            score_thr=self.score_thr,
            iou_thr=self.iou_thr if kind == 'yolox' else 1.0,
            fit=known.fit,
            person=known.person,
            layout=layout,
            dtype=inputs[0].dtype,
            strides=strides,
        )


def to_tensor(image: np.ndarray, meta: GraphMeta) -> np.ndarray:
    """Normalise a letterboxed image (1, h, w, 3), channels in order, for the network."""
    tensor = image
    if any(meta.mean) or any(std != 1 for std in meta.std):
        tensor = (image - np.float32(meta.mean)) / np.float32(meta.std)
    if meta.layout == 'nchw':
        tensor = np.stack(cv2.split(tensor[0]))[None]  # faster than to transpose
    return np.ascontiguousarray(tensor, meta.dtype)


def yolox_is_decoded(rows: np.ndarray, meta: GraphMeta) -> bool:
    """Tell whether YOLOX's rows (A, 5 + classes) are boxes in pixels already.

    Centres in pixels follow the grid; offsets in cells are small everywhere.
    """
    grid, stride = yolox_grid(meta)
    pixels = np.abs(rows[:, :2] - (grid + 0.5) * stride).mean()
    cells = np.abs(rows[:, :2] - 0.5).mean()
    return bool(pixels < cells)


@lru_cache(maxsize=8)
def yolox_grid(meta: GraphMeta) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells (A, 2) of YOLOX's grids, x before y, and their strides (A, 1)."""
    cells, strides = [], []
    for stride in meta.strides:
        y, x = np.mgrid[: meta.input_size[1] // stride, : meta.input_size[0] // stride]
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _check_outputs(arrays: list[np.ndarray], meta: GraphMeta) -> None:
    """Raise ValueError unless arrays have the shapes of the kind that they were taken for."""
    shapes = [array.shape for array in arrays]
    if meta.outputs == 'dets':
        count = shapes[0][1:2]
        wanted = [(1, *count, 5), (1, *count)][: len(shapes)]
    elif meta.outputs == 'num_dets':
        count = shapes[1][1:2]
        wanted = [shapes[0], (1, *count, 4), (1, *count), (1, *count)]
        wanted = wanted if arrays[0].size == 1 else []
    else:
        width = max(shapes[0][-1], 6 + meta.person)
        wanted = [(1, grid_cells(meta.input_size, meta.strides), width)]
    if shapes != wanted:
        raise ValueError(f'it gives arrays of shapes {shapes}, and {wanted} was expected')


def read_outputs(
    arrays: list[np.ndarray], meta: GraphMeta, score_thr: float = 0.0, decoded: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the persons that a graph found in one image, before suppression.

    Args:
        arrays (list[np.ndarray]): Its outputs.
        meta (GraphMeta): From :class:`Description`.
        score_thr (float): Boxes that do not score more need not be returned.
            Default: 0.
        decoded (bool): See :func:`yolox_is_decoded`. Default: False.

    Returns:
        tuple:
        - boxes (np.ndarray): x1, y1, x2, y2 in pixels of the input (A, 4).
        - scores (np.ndarray): Scores (A, ).

    Raises:
        ValueError: If the arrays have other shapes than those of the kind.
    """
    _check_outputs(arrays, meta)
    if meta.outputs == 'dets':
        dets = arrays[0][0]
        persons = slice(None) if len(arrays) == 1 else arrays[1][0] == meta.person
        return dets[persons, :4], dets[persons, 4]
    if meta.outputs == 'num_dets':
        count = int(arrays[0].flat[0])
        boxes, scores, labels = (array[0, :count] for array in arrays[1:])
        persons = labels == meta.person
        return boxes[persons], scores[persons]
    rows = arrays[0][0]
    scores = rows[:, 4] * rows[:, 5 + meta.person]
    likely = np.flatnonzero(scores > score_thr)
    rows, scores = rows[likely].astype(np.float32), scores[likely]
    centers, sizes = rows[:, :2], rows[:, 2:4]
    if not decoded:
        grid, stride = (array[likely] for array in yolox_grid(meta))
        centers, sizes = (centers + grid) * stride, np.exp(sizes) * stride
    return np.hstack([centers - sizes / 2, centers + sizes / 2]), scores

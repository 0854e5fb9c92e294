"""What an exported model file says about itself.

One JSON text under the key :data:`KEY`: in the ``metadata_props`` of an ONNX
file, in the ``rt_info`` of an OpenVINO model. Needs the standard library
alone; :mod:`lpn_mmpose.deploy` writes it, runtimes read it.

Every exported model takes one tensor ``image``: uint8 in shape
(N, h, w, 3), the channels in the order that ``channel_order`` says.
Normalisation is inside the graph. What comes out is named by ``outputs``:

==============  ==========================================================
``outputs``     tensors
==============  ==========================================================
``heatmaps``    ``heatmaps`` (N, K, H, W) float32
``keypoints``   ``keypoints`` (N, K, 2) float32, (x, y) in pixels of the
                input, and ``scores`` (N, K) float32
``boxes``       ``boxes`` (N, A, 4) float32, (x1, y1, x2, y2) in pixels of
                the input, and ``scores`` (N, A) float32, of A candidates
                before non-maximum suppression
==============  ==========================================================

Example:
    >>> from lpn_mmpose.runtime.model_meta import DetectionMeta, ModelMeta
    >>> meta = DetectionMeta(
    ...     input_size=(320, 320), mean=(103.53, 116.28, 123.675),
    ...     std=(57.375, 57.12, 58.395), dataset='coco', version='0.1.0',
    ...     score_thr=0.3, iou_thr=0.6)
    >>> ModelMeta.from_json(meta.to_json()) == meta
    True
"""

import json
from dataclasses import asdict, dataclass, fields

#: Key of the JSON text in a model file.
KEY = 'lpn_mmpose'
#: Raised when a reader of the older text would go wrong.
FORMAT = 1
INPUT_NAME = 'image'
#: Value of ``outputs`` to the names of the output tensors.
OUTPUT_NAMES = {
    'heatmaps': ('heatmaps',),
    'keypoints': ('keypoints', 'scores'),
    'boxes': ('boxes', 'scores'),
}


#: Largest text, side in pixels and number of keypoints or boxes that are taken
#: for those of a model: a stranger's file can say anything.
MAX_TEXT, MAX_SIDE, MAX_COUNT = 2**20, 8192, 10_000


def _tuples(value):
    """Turn JSON's lists into tuples, at any depth."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return value


@dataclass(frozen=True)
class ModelMeta:
    """What every exported model says.

    Args:
        input_size (tuple[int, int]): Size (w, h) of the input in pixels.
        mean (tuple[float]): Subtracted in the graph, a value a channel, in
            the order of ``channel_order``.
        std (tuple[float]): Divided by in the graph, likewise.
        dataset (str): Name of the dataset that the model was trained on.
        version (str): Version of lpn_mmpose that exported the model.
        channel_order (str): Order of the input's channels, ``'bgr'`` or
            ``'rgb'``. The exporter always writes ``'bgr'``, OpenCV's.
        precision (str): ``'fp32'``, ``'fp16'`` (weights stored in float16)
            or ``'int8'``.
        name (str): The config's name.
    """

    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dataset: str
    version: str
    channel_order: str = 'bgr'
    precision: str = 'fp32'
    name: str = ''

    def to_json(self) -> str:
        """Return the text that a model file carries."""
        return json.dumps(dict(format=FORMAT, task=self.task, **asdict(self)))

    @staticmethod
    def from_json(text: str) -> 'ModelMeta':
        """Read the text that a model file carries.

        Args:
            text (str): From :meth:`to_json`.

        Returns:
            PoseMeta | DetectionMeta: By the text's ``task``. Keys that this
            version does not know are left out.

        Raises:
            ValueError: If the text is not of this format.
        """
        try:
            if len(text) > MAX_TEXT:
                raise ValueError(f'{len(text)} characters of metadata')
            content = {key: _tuples(value) for key, value in json.loads(text).items()}
            written, task = content['format'], content['task']
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f'not the metadata of an lpn_mmpose export: {error!r}') from error
        if type(written) is not int or written > FORMAT:
            raise ValueError(
                f'metadata of format {written!r}, while this lpn_mmpose reads '
                f'up to {FORMAT}: upgrade it, or export the model again'
            )
        for cls in (PoseMeta, DetectionMeta):
            if cls.task == task:
                known = {field.name for field in fields(cls)}
                try:
                    meta = cls(**{k: value for k, value in content.items() if k in known})
                except TypeError as error:
                    raise ValueError(f'metadata is incomplete: {error}') from error
                for name, right in meta._rules():
                    if not right:
                        value = repr(getattr(meta, name))[:80]
                        raise ValueError(f'metadata {name}={value} is no such value')
                return meta
        raise ValueError(f'metadata of an unknown task {task!r}')

    def _rules(self):
        """Yield the name of each field, and whether its value is one."""
        yield 'input_size', _size(self.input_size)
        yield 'mean', _numbers(self.mean, 3)
        yield 'std', _numbers(self.std, 3, 1e-12)
        for name in ('dataset', 'version', 'precision', 'name'):
            yield name, isinstance(getattr(self, name), str)
        yield 'channel_order', self.channel_order in ('bgr', 'rgb')


def _numbers(values, count=None, low=-1e9, high=1e9, kind=(int, float)) -> bool:
    """Whether ``values`` is a tuple of numbers from ``low`` to ``high``."""
    return (
        isinstance(values, tuple)
        and len(values) == (len(values) if count is None else count)
        and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
        and all(low <= v <= high for v in values)
    )


def _size(values) -> bool:
    return _numbers(values, 2, 1, MAX_SIDE, int)


def _rows(rows, count, width, high) -> bool:
    """Whether ``rows`` has ``count`` tuples of ``width`` integers from 0 to ``high``."""
    return (
        isinstance(rows, tuple)
        and len(rows) == count
        and all(_numbers(row, width, 0, high, int) for row in rows)
    )


@dataclass(frozen=True)
class PoseMeta(ModelMeta):
    """What a top-down pose model says, beyond :class:`ModelMeta`.

    K is the number of keypoints.

    Args:
        outputs (str): ``'heatmaps'`` or ``'keypoints'``.
        heatmap_size (tuple[int, int]): Size (W, H) of the heatmaps.
        codec (str): ``'BetaSoftArgmaxHeatmap'`` or ``'MSRAHeatmap'``.
        sigma (float): Of the Gaussians that the model was trained on, in
            heatmap pixels.
        beta (float, optional): Factor in the softmax; None for
            ``MSRAHeatmap``.
        quarter_offset (bool): Whether decoding shifts by a quarter pixel.
        flip (bool): Whether the graph averages with the mirrored image.
        bbox_padding (float): Factor on the person's box before cropping.
        keypoint_names (tuple[str]): K names.
        flip_indices (tuple[int]): For each keypoint, its mirror image.
        sigmas (tuple[float]): K OKS sigmas, or empty.
        skeleton (tuple[tuple[int, int]]): Pairs of keypoints to join.
        keypoint_colors (tuple[tuple[int, int, int]]): K colours, RGB.
        skeleton_colors (tuple[tuple[int, int, int]]): A colour for each
            pair of ``skeleton``, RGB.
    """

    outputs: str = 'heatmaps'
    heatmap_size: tuple[int, int] = ()
    codec: str = 'BetaSoftArgmaxHeatmap'
    sigma: float = 2.0
    beta: float | None = None
    quarter_offset: bool = True
    flip: bool = False
    bbox_padding: float = 1.25
    keypoint_names: tuple[str, ...] = ()
    flip_indices: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    keypoint_colors: tuple[tuple[int, int, int], ...] = ()
    skeleton_colors: tuple[tuple[int, int, int], ...] = ()

    task = 'pose'

    def _rules(self):
        yield from super()._rules()
        names, links = self.keypoint_names, self.skeleton
        yield 'outputs', self.outputs in ('heatmaps', 'keypoints')
        yield 'heatmap_size', _size(self.heatmap_size) or self.outputs == 'keypoints'
        yield 'codec', self.codec in ('BetaSoftArgmaxHeatmap', 'MSRAHeatmap')
        yield 'sigma', _numbers((self.sigma,), low=1e-6)
        yield 'beta', self.beta is None or _numbers((self.beta,), low=1e-6)
        for name in ('quarter_offset', 'flip'):
            yield name, isinstance(getattr(self, name), bool)
        yield 'bbox_padding', _numbers((self.bbox_padding,), low=0.1, high=100)
        yield (
            'keypoint_names',
            isinstance(names, tuple)
            and 0 < len(names) <= MAX_COUNT
            and all(isinstance(name, str) for name in names),
        )
        count = len(names)
        yield (
            'flip_indices',
            _numbers(self.flip_indices, count, 0, count - 1, int)
            and all(self.flip_indices[j] == i for i, j in enumerate(self.flip_indices)),
        )
        yield 'sigmas', self.sigmas == () or _numbers(self.sigmas, count, 1e-9)
        yield (
            'skeleton',
            isinstance(links, tuple)
            and len(links) <= MAX_COUNT
            and _rows(links, len(links), 2, count - 1),
        )
        for name, rows in (('keypoint_colors', count), ('skeleton_colors', len(links))):
            colors = getattr(self, name)
            yield name, colors == () or _rows(colors, rows, 3, 255)


@dataclass(frozen=True)
class DetectionMeta(ModelMeta):
    """What a person detector says, beyond :class:`ModelMeta`.

    The image is resized with its aspect ratio kept to fit ``input_size``, and
    padded at the right and the bottom.

    Args:
        outputs (str): ``'boxes'``.
        pad_value (int): Value of the padding.
        score_thr (float): Candidates below this score are dropped.
        iou_thr (float): Threshold of non-maximum suppression.
        max_per_img (int): Boxes kept at most.
        classes (tuple[str]): The classes that ``scores`` is of: one.
    """

    outputs: str = 'boxes'
    pad_value: int = 114
    score_thr: float = 0.05
    iou_thr: float = 0.6
    max_per_img: int = 100
    classes: tuple[str, ...] = ('person',)

    task = 'detection'

    def _rules(self):
        yield from super()._rules()
        yield 'outputs', self.outputs == 'boxes'
        yield 'pad_value', _numbers((self.pad_value,), low=0, high=255)
        for name in ('score_thr', 'iou_thr'):
            yield name, _numbers((getattr(self, name),), low=0, high=1)
        yield 'max_per_img', _numbers((self.max_per_img,), 1, 1, MAX_COUNT, int)
        yield (
            'classes',
            isinstance(self.classes, tuple) and all(isinstance(name, str) for name in self.classes),
        )

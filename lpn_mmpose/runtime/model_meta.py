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
            content = json.loads(text)
            written, task = content['format'], content['task']
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f'not the metadata of an lpn_mmpose export: {error!r}') from error
        if written > FORMAT:
            raise ValueError(
                f'metadata of format {written}, while this lpn_mmpose reads '
                f'up to {FORMAT}: upgrade it, or export the model again'
            )
        for cls in (PoseMeta, DetectionMeta):
            if cls.task == task:
                known = {field.name for field in fields(cls)}
                return cls(
                    **{key: _tuples(value) for key, value in content.items() if key in known}
                )
        raise ValueError(f'metadata of an unknown task {task!r}')


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

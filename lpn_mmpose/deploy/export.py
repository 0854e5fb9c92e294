"""What ``tools/deployment/export.py`` does.

A trained model becomes a graph from uint8 images to heatmaps, keypoints or
boxes, rewritten for the engine, compared with the trained model, and written
with all that a runtime needs to know (:mod:`lpn_mmpose.model_meta`).
"""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from mmdet.apis import init_detector
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.apis import init_model
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.structures import PoseDataSample
from torch import nn

from .. import topdown
from ..cli import check_checkpoint
from ..errors import InputError
from ..model_meta import (
    INPUT_NAME,
    KEY,
    OUTPUT_NAMES,
    TORCHSCRIPT_FILE,
    DetectionMeta,
    ModelMeta,
    PoseMeta,
)
from ..runtime.engines import load_engine
from ..version import __version__
from .graphs import DetectorGraph, PoseGraph, SoftArgmax, channel_statistics
from .quantize import calibration_crops, quantize_onnx, quantize_openvino
from .rewrite import InferenceNetwork

#: Format to the suffix of its files.
FORMATS = {'onnx': '.onnx', 'openvino': '.xml', 'torchscript': '.pt'}
PRECISIONS = ('fp32', 'fp16', 'int8')
#: Largest difference from PyTorch, as a share of the outputs' range. int8 is
#: judged by keypoints (docs/performance.md), not by this.
TOLERANCE = {'fp32': 1e-3, 'fp16': 2e-2}
ONNX_OPSET = 17
#: Images that exports are compared on where the batch is dynamic.
CHECK_BATCH = 2


@dataclass
class Exported:
    """A written file.

    Args:
        path (Path): The file.
        meta (ModelMeta): What it says about itself.
        difference (float): Largest absolute difference of its first output
            from PyTorch's.
        range (float): Range of PyTorch's output.
    """

    path: Path
    meta: ModelMeta
    difference: float
    range: float

    @property
    def megabytes(self) -> float:
        """Size, with OpenVINO's ``.bin`` beside the ``.xml``."""
        files = {self.path}
        if self.path.suffix == FORMATS['openvino']:
            files.add(self.path.with_suffix('.bin'))
        return sum(file.stat().st_size for file in files) / 1e6


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' remarks on what they trace."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def load_model(cfg: Config, checkpoint: str | None = None) -> nn.Module:
    """Build a pose estimator or a detector.

    Args:
        cfg (Config): Its config.
        checkpoint (str, optional): Its weights, random if None.

    Returns:
        nn.Module: The model in eval mode, with ``dataset_meta`` and ``cfg``.

    Raises:
        InputError: If the checkpoint does not fit the config.
    """
    if checkpoint is not None:
        check_checkpoint(checkpoint, cfg)
    detector = 'bbox_head' in cfg.model
    with DefaultScope.overwrite_default_scope('mmdet' if detector else 'mmpose'), quiet():
        init = init_detector if detector else init_model
        model = init(cfg, checkpoint, device='cpu')
    return model.eval()


def input_size(cfg: Config) -> tuple[int, int]:
    """Return the size (w, h) of the images that a config's model takes.

    Raises:
        InputError: If the config does not say.
    """
    if 'bbox_head' not in cfg.model:
        codec = cfg.model.head.get('decoder') or {}
        if 'input_size' in codec:
            return tuple(codec['input_size'])
    else:
        for step in _test_pipeline(cfg):
            if step['type'] == 'Resize':
                return tuple(step['scale'])
    raise InputError(f"config {cfg.filename} does not say how large the model's input is")


def _test_pipeline(cfg: Config) -> list[dict]:
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset.get('pipeline') or cfg.get('test_pipeline') or []


def _ints(array) -> tuple:
    """Turn an array of integers into nested tuples."""
    array = np.asarray(array)
    return tuple(map(_ints, array)) if array.ndim > 1 else tuple(map(int, array))


def pose_meta(model: nn.Module, flip: bool, decode: bool, precision: str) -> PoseMeta:
    """Collect what a pose estimator's file says.

    Args:
        model (TopdownPoseEstimator): From :func:`load_model`.
        flip (bool): Whether the graph averages with the mirrored image.
        decode (bool): Whether the graph decodes.
        precision (str): One of :data:`PRECISIONS`.

    Raises:
        InputError: If the runtime could not decode the model's heatmaps.
    """
    cfg = model.cfg
    codec = dict(cfg.model.head.get('decoder') or {})
    kind = codec.get('type')
    if kind not in ('BetaSoftArgmaxHeatmap', 'MSRAHeatmap') or codec.get('unbiased'):
        raise InputError(
            f'config {cfg.filename} decodes by {kind or "no codec"}'
            f'{" (unbiased)" if codec.get("unbiased") else ""}; exported are '
            'models with BetaSoftArgmaxHeatmap or a biased MSRAHeatmap'
        )
    soft = kind == 'BetaSoftArgmaxHeatmap'
    if decode and not soft:
        raise InputError(
            f'--decode is for BetaSoftArgmaxHeatmap, and config '
            f'{cfg.filename} has {kind}: leave it out'
        )
    decoder = model.head.decoder
    meta = model.dataset_meta
    padding = 1.25
    for step in _test_pipeline(cfg):
        if step['type'] == 'GetBBoxCenterScale':
            padding = step.get('padding', padding)
    names = [meta['keypoint_id2name'][i] for i in range(meta['num_keypoints'])]
    return PoseMeta(
        **_common_meta(model, meta['dataset_name'], precision),
        outputs='keypoints' if decode else 'heatmaps',
        heatmap_size=tuple(codec['heatmap_size']),
        codec=kind,
        sigma=codec['sigma'],
        beta=float(decoder.beta) if soft else None,
        quarter_offset=decoder.quarter_offset if soft else True,
        flip=flip,
        bbox_padding=padding,
        keypoint_names=tuple(names),
        flip_indices=_ints(meta['flip_indices']),
        sigmas=tuple(round(float(s), 6) for s in meta['sigmas']),
        skeleton=_ints(meta['skeleton_links']),
        keypoint_colors=_ints(meta['keypoint_colors']),
        skeleton_colors=_ints(meta['skeleton_link_colors']),
    )


def detection_meta(model: nn.Module, precision: str) -> DetectionMeta:
    """Collect what a detector's file says.

    Args:
        model (RTMDet): From :func:`load_model`.
        precision (str): One of :data:`PRECISIONS`.

    Raises:
        InputError: If it is no RTMDet or does not know persons.
    """
    cfg = model.cfg
    if cfg.model.type != 'RTMDet':
        raise InputError(
            f'config {cfg.filename} is of {cfg.model.type}; detectors are exported from RTMDet'
        )
    classes = model.dataset_meta['classes']
    if 'person' not in classes:
        raise InputError(f'config {cfg.filename} detects {", ".join(classes[:5])} and no person')
    pad_value = next(
        (step['pad_val'] for step in _test_pipeline(cfg) if step['type'] == 'Pad'), 114
    )
    if isinstance(pad_value, dict):
        pad_value = pad_value['img']
    test_cfg = cfg.model.test_cfg
    return DetectionMeta(
        **_common_meta(model, cfg.get('dataset_type', ''), precision),
        pad_value=int(np.ravel(pad_value)[0]),
        score_thr=test_cfg.score_thr,
        iou_thr=test_cfg.nms.iou_threshold,
        max_per_img=test_cfg.max_per_img,
    )


def _common_meta(model: nn.Module, dataset: str, precision: str) -> dict:
    mean, std, swap = channel_statistics(model.data_preprocessor)
    if swap:
        mean, std = mean.flip(0), std.flip(0)
    return dict(
        input_size=input_size(model.cfg),
        mean=tuple(round(float(v), 4) for v in mean),
        std=tuple(round(float(v), 4) for v in std),
        dataset=dataset,
        version=__version__,
        precision=precision,
        name=Path(model.cfg.filename or '').stem,
    )


def style_of(format: str, precision: str) -> str:
    """Return the style of graph that suits a file."""
    if format == 'onnx':
        return 'onnxruntime-int8' if precision == 'int8' else 'onnxruntime'
    return 'openvino'


def build_graph(model: nn.Module, meta: ModelMeta, style: str) -> nn.Module:
    """Return the module that is exported.

    Args:
        model (nn.Module): From :func:`load_model`.
        meta (ModelMeta): What the file will say.
        style (str): One of :data:`lpn_mmpose.deploy.rewrite.STYLES`.
    """
    network = InferenceNetwork(model, style)
    if isinstance(meta, DetectionMeta):
        label = list(model.dataset_meta['classes']).index('person')
        graph = DetectorGraph(network, model.data_preprocessor, meta.input_size, label)
    else:
        decoder = None
        if meta.outputs == 'keypoints':
            decoder = SoftArgmax(
                meta.heatmap_size, model.head.decoder.scale_factor, meta.beta, meta.quarter_offset
            )
        graph = PoseGraph(
            network,
            model.data_preprocessor,
            meta.flip_indices if meta.flip else None,
            bool(model.test_cfg.get('shift_heatmap', False)),
            decoder,
        )
    return graph.eval()


@torch.no_grad()
def reference(model: nn.Module, meta: ModelMeta, images: np.ndarray) -> list[np.ndarray]:
    """Compute the trained model's heatmaps, or boxes and scores.

    Args:
        model (nn.Module): From :func:`load_model`.
        meta (ModelMeta): What the file says.
        images (np.ndarray): uint8 in shape (N, h, w, 3), BGR.
    """
    inputs = [torch.from_numpy(i.transpose(2, 0, 1).copy()) for i in images]
    sample = PoseDataSample(metainfo=dict(img_shape=images.shape[1:3], scale_factor=(1.0, 1.0)))
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=[sample] * len(images)), False)
    x = data['inputs']
    if isinstance(meta, DetectionMeta):
        return _detector_reference(model, meta, x)
    heatmaps = model(x, None, mode='tensor')
    if meta.flip:
        mirrored = model(x.flip(-1), None, mode='tensor')
        heatmaps = (
            heatmaps
            + flip_heatmaps(
                mirrored,
                flip_indices=list(meta.flip_indices),
                shift_heatmap=model.test_cfg.get('shift_heatmap', False),
            )
        ) * 0.5
    return [heatmaps.numpy()]


def decoded(model: nn.Module, meta: PoseMeta, heatmaps: np.ndarray) -> np.ndarray:
    """Decode heatmaps (N, K, H, W) in NumPy to keypoints (N, K, 2)."""
    coords, _ = topdown.soft_argmax(heatmaps, meta.beta)
    if meta.quarter_offset:
        coords = topdown.quarter_offset(coords, heatmaps)
    return coords * model.head.decoder.scale_factor


def _detector_reference(model: nn.Module, meta: DetectionMeta, x: torch.Tensor) -> list[np.ndarray]:
    """All candidates of MMDet's own post-processing, level by level."""
    label = list(model.dataset_meta['classes']).index('person')
    maps, distances = model(x, None, mode='tensor')
    priors = model.bbox_head.prior_generator.grid_priors(
        [m.shape[-2:] for m in maps], device='cpu', with_stride=False
    )
    boxes, scores = [], []
    for points, level, distance in zip(priors, maps, distances):
        distance = distance.permute(0, 2, 3, 1).reshape(len(x), -1, 4)
        boxes.append(model.bbox_head.bbox_coder.decode(points.expand(len(x), -1, -1), distance))
        scores.append(level[:, label].sigmoid().reshape(len(x), -1))
    return [torch.cat(boxes, 1).numpy(), torch.cat(scores, 1).numpy()]


def check_images(meta: ModelMeta, batch: int) -> np.ndarray:
    """Return uint8 images (N, h, w, 3): waves of many lengths, and noise."""
    width, height = meta.input_size
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    images = []
    for _ in range(batch):
        waves = sum(
            np.sin((a * x + b * y)[..., None] + c)
            for a, b, c in zip(*rng.uniform(-0.3, 0.3, (2, 6)), rng.uniform(0, 6, (6, 3)))
        )
        images.append(128 + 25 * waves + rng.normal(0, 20, waves.shape))
    return np.clip(images, 0, 255).astype(np.uint8)


def check(
    outputs: list[np.ndarray], expected: list[np.ndarray], meta: ModelMeta
) -> tuple[float, float]:
    """Compare an export with PyTorch.

    Args:
        outputs (list[np.ndarray]): Of the exported file.
        expected (list[np.ndarray]): From :func:`reference`.
        meta (ModelMeta): What the file says.

    Returns:
        tuple[float, float]: Largest absolute difference of the first output,
        and the range of its expected values.

    Raises:
        InputError: If they differ by more than the precision explains.
    """
    difference = float(np.abs(outputs[0] - expected[0]).max())
    spread = float(np.ptp(expected[0]))
    tolerance = TOLERANCE.get(meta.precision)
    if tolerance and not difference <= tolerance * spread:
        raise InputError(
            f'the exported {meta.outputs} differ by {difference:.2e} from '
            f"PyTorch's, whose range is {spread:.3g}: nothing was written. "
            'Please report the config; another --format may serve meanwhile'
        )
    return difference, spread


def check_keypoints(keypoints: np.ndarray, expected: np.ndarray) -> None:
    """Compare decoding in the graph with decoding in NumPy.

    Args:
        keypoints (np.ndarray): (N, K, 2), of the exported file.
        expected (np.ndarray): Likewise, from :func:`decoded`.

    Raises:
        InputError: If more than 5 % are farther apart than half a pixel;
            where two neighbours are level, rounding decides the offset.
    """
    far = np.linalg.norm(keypoints - expected, axis=-1) > 0.5
    if far.mean() > 0.05:
        raise InputError(
            f'{far.sum()} of {far.size} keypoints decoded in the graph are '
            'not where they should be: nothing was written. Please report '
            'the config; leave out --decode meanwhile'
        )


def to_onnx(
    graph: nn.Module, size: tuple[int, int], names: Sequence[str], path: Path, batch: int | None
) -> None:
    """Write a graph of uint8 images as ONNX.

    Args:
        graph (ImageGraph): The graph.
        size (tuple[int, int]): Size (w, h) of the images.
        names (Sequence[str]): Names of the outputs.
        path (Path): File to write.
        batch (int, optional): Images it takes; None for any number.
    """
    example = torch.zeros((batch or CHECK_BATCH, size[1], size[0], 3), dtype=torch.uint8)
    axes = None if batch else {name: {0: 'batch'} for name in (INPUT_NAME, *names)}
    with quiet(), torch.no_grad():
        # the tracing exporter: the other takes six times as long and gives
        # the same nodes
        torch.onnx.export(
            graph,
            (example,),
            str(path),
            dynamo=False,
            opset_version=ONNX_OPSET,
            input_names=[INPUT_NAME],
            output_names=list(names),
            dynamic_axes=axes,
        )
    if batch is None:
        name_batch(path)


def name_batch(path: Path) -> None:
    """Name the batch of all maps of a network with Resize in an ONNX file.

    Shape inference loses a dimension that has a name and no value in Resize
    (onnx 1.23), and ONNX Runtime fuses sums only of maps that it knows to be
    of one shape.

    Args:
        path (Path): Written by :func:`to_onnx`; written anew.
    """
    import onnx

    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {
        value.name: value.type.tensor_type for value in (*inferred.input, *inferred.value_info)
    }
    network = [n for n in model.graph.node if n.name.startswith('/network/')]
    start = network[0].input[0]
    # with flip, the images and their mirror images
    batch = types[start].shape.dim[0].dim_param
    names = [n.output[0] for n in network if n.op_type == 'Resize']
    for name in [start, *names] if names else []:
        sides = [dim.dim_value for dim in types[name].shape.dim[1:]]
        model.graph.value_info.append(
            onnx.helper.make_tensor_value_info(name, types[name].elem_type, [batch, *sides])
        )
    onnx.save(model, path)


def store_fp16(model) -> None:
    """Store an ONNX model's large weights in float16, to compute in float32.

    Engines widen them when they load the model.

    Args:
        model (onnx.ModelProto): Changed in place.
    """
    import onnx
    from onnx import numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < 64:
            continue
        name = weight.name
        array = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(array, f'{name}_fp16'))
        casts.append(
            onnx.helper.make_node('Cast', [f'{name}_fp16'], [name], to=onnx.TensorProto.FLOAT)
        )
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)


def _write_torchscript(graph: nn.Module, meta: ModelMeta, out: Path, batch: int | None) -> None:
    width, height = meta.input_size
    example = torch.zeros((batch or CHECK_BATCH, height, width, 3), dtype=torch.uint8)
    with quiet(), torch.no_grad():
        traced = torch.jit.freeze(torch.jit.trace(graph, example))
        torch.jit.save(traced, str(out), _extra_files={TORCHSCRIPT_FILE: meta.to_json()})


def _write(
    model: nn.Module,
    meta: ModelMeta,
    format: str,
    batch: int | None,
    crops: np.ndarray | None,
    out: Path,
) -> None:
    """Write a file of any format and precision."""
    graph = build_graph(model, meta, style_of(format, meta.precision))
    if format == 'torchscript':
        _write_torchscript(graph, meta, out, batch)
        return
    plain = out.with_name('plain.onnx')
    to_onnx(graph, meta.input_size, OUTPUT_NAMES[meta.outputs], plain, batch)
    if format == 'onnx':
        import onnx

        written = onnx.load(plain)
        if meta.precision == 'fp16':
            store_fp16(written)
        elif meta.precision == 'int8':
            written = quantize_onnx(written, crops)
        written.producer_name = 'lpn_mmpose'
        written.producer_version = __version__
        onnx.helper.set_model_props(written, {KEY: meta.to_json()})
        onnx.checker.check_model(written)
        onnx.save(written, out)
    else:
        import openvino

        written = openvino.convert_model(plain)
        if meta.precision == 'int8':
            written = quantize_openvino(plain, crops)
        written.set_rt_info(meta.to_json(), [KEY])
        openvino.save_model(written, out, compress_to_fp16=meta.precision == 'fp16')


def run_file(path: Path, meta: ModelMeta, images: np.ndarray) -> list[np.ndarray]:
    """Run an exported file as its users will.

    Args:
        path (Path): The file.
        meta (ModelMeta): What it says.
        images (np.ndarray): uint8 in shape (N, h, w, 3).
    """
    if path.suffix != FORMATS['torchscript']:
        return load_engine(path, meta.task)(images)
    with quiet(), torch.no_grad():
        outputs = torch.jit.load(str(path))(torch.from_numpy(images))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [output.numpy() for output in outputs]


def _check_request(out: Path, format: str, precision: str, batch: int | None) -> None:
    if format not in FORMATS:
        raise InputError(f'--format must be one of {", ".join(FORMATS)}, got {format!r}')
    if precision not in PRECISIONS:
        raise InputError(f'--precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    suffix = FORMATS[format]
    if out.suffix != suffix:
        raise InputError(f'-o {out} must end in {suffix} for --format {format}')
    if format == 'torchscript' and precision != 'fp32':
        raise InputError(f'--precision {precision} is for --format onnx and openvino')
    if batch is not None and batch < 1:
        raise InputError(f'--batch must be positive or "dynamic", got {batch}')


def export(
    cfg: Config,
    checkpoint: str | None,
    out: str,
    format: str = 'onnx',
    precision: str = 'fp32',
    batch: int | None = None,
    flip: bool = False,
    decode: bool = False,
    calibration: str | None = None,
    calibration_images: int = 128,
) -> Exported:
    """Export a trained model.

    Args:
        cfg (Config): Config of a top-down heatmap model or an RTMDet.
        checkpoint (str, optional): Its weights; random if None.
        out (str): File to write; OpenVINO writes a ``.bin`` beside it.
        format (str): One of :data:`FORMATS`. Default: ``'onnx'``.
        precision (str): ``'fp32'``, ``'fp16'`` (weights stored in float16,
            computed in float32) or ``'int8'``. Default: ``'fp32'``.
        batch (int, optional): Images that the file takes at once; None for
            any number.
        flip (bool): Average with the mirrored image. Default: False.
        decode (bool): Return keypoints and scores instead of heatmaps.
            Default: False.
        calibration (str, optional): Folder of images to calibrate int8 on;
            the config's training images if None.
        calibration_images (int): How many of them. Default: 128.

    Returns:
        Exported: What was written.

    Raises:
        InputError: If the model cannot be exported so, or the export differs
            from the trained model; nothing is written then.
    """
    out = Path(out)
    _check_request(out, format, precision, batch)
    model = load_model(cfg, checkpoint)
    detector = 'bbox_head' in cfg.model
    if detector:
        if flip or decode or precision == 'int8':
            raise InputError(
                f'config {cfg.filename} is of a detector: '
                '--flip, --decode and int8 are for pose models'
            )
        meta = detection_meta(model, precision)
    else:
        meta = pose_meta(model, flip, decode, precision)
    suffix = FORMATS[format]
    crops = None
    if precision == 'int8':
        crops = calibration_crops(cfg, meta, calibration, calibration_images)
    images = check_images(meta, batch or CHECK_BATCH)
    expected = reference(model, meta, images)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / f'draft{suffix}'
        first = meta
        if decode:
            # compared apart: the heatmaps with PyTorch's, and the keypoints
            # with what NumPy makes of the heatmaps
            first = replace(meta, outputs='heatmaps')
        _write(model, first, format, batch, crops, draft)
        outputs = run_file(draft, first, images)
        difference, spread = check(outputs, expected, first)
        if decode:
            _write(model, meta, format, batch, crops, draft)
            check_keypoints(run_file(draft, meta, images)[0], decoded(model, meta, outputs[0]))
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(draft, out)
        weights = draft.with_suffix('.bin')
        if weights.exists():
            shutil.move(weights, out.with_suffix('.bin'))
    return Exported(out, meta, difference, spread)

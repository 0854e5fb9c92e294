"""What ``tools/deployment/export.py`` does.

A trained model becomes a graph from uint8 images to heatmaps, keypoints or
boxes, rewritten for the engine, compared with the trained model, and written
with all that a runtime needs to know (:mod:`lpn_mmpose.runtime.model_meta`).
"""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mmdet.apis import init_detector
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.apis import init_model
from mmpose.models.heads import RTMCCHead
from torch import nn

from ..errors import InputError
from ..runtime.engines import load_engine
from ..runtime.model_meta import KEY, OUTPUT_NAMES, DetectionMeta, ModelMeta
from ..utils.checkpoint import check_checkpoint
from ..version import __version__
from .graphs import DetectorGraph, ImageGraph, PoseGraph, SoftArgmax
from .metadata import detection_meta, pose_meta
from .onnx_passes import TRACE_BATCH, quiet, store_fp16, to_onnx
from .quantization import calibration_crops, quantize_onnx, quantize_openvino
from .rewriting import STYLES, GraphStyle, InferenceNetwork
from .verification import check, check_images, check_keypoints, decoded, reference

#: Format to the suffix of its files.
FORMATS = {'onnx': '.onnx', 'openvino': '.xml'}
PRECISIONS = ('fp32', 'fp16', 'int8')


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


def style_of(format: str, precision: str) -> GraphStyle:
    """Return the style of graph that suits a file."""
    if format == 'openvino':
        return STYLES['openvino']
    return STYLES['onnxruntime-int8' if precision == 'int8' else 'onnxruntime']


def build_graph(model: nn.Module, meta: ModelMeta, style: GraphStyle) -> ImageGraph:
    """Return the module that is exported.

    Args:
        model (nn.Module): From :func:`load_model`.
        meta (ModelMeta): What the file will say.
        style (GraphStyle): From :func:`style_of`.
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
    plain = out.with_name('plain.onnx')
    to_onnx(graph, meta.input_size, OUTPUT_NAMES[meta.outputs], plain, batch)
    if format == 'onnx':
        import onnx

        written = onnx.load(plain)
        if meta.precision == 'fp16':
            store_fp16(written)
        elif meta.precision == 'int8':
            written = quantize_onnx(written, crops, graph)
        written.producer_name = 'lpn_mmpose'
        written.producer_version = __version__
        onnx.helper.set_model_props(written, {KEY: meta.to_json()})
        onnx.checker.check_model(written)
        onnx.save(written, out)
    else:
        import openvino

        written = openvino.convert_model(plain)
        if meta.precision == 'int8':
            written = quantize_openvino(plain, crops, graph)
        written.set_rt_info(meta.to_json(), [KEY])
        openvino.save_model(written, out, compress_to_fp16=meta.precision == 'fp16')


def export_network(model: nn.Module, size: tuple[int, int], path: Path) -> None:
    """Write a network from uint8 images on as ONNX, in our graph.

    Args:
        model (nn.Module): A pose estimator with heatmaps or SimCC.
        size (tuple[int, int]): Size (w, h) of the images.
        path (Path): File to write; it takes any number of images.
    """
    graph = ImageGraph(InferenceNetwork(model, style_of('onnx', 'fp32')), model.data_preprocessor)
    simcc = isinstance(model.head, RTMCCHead)
    to_onnx(graph.eval(), size, ['simcc_x', 'simcc_y'] if simcc else ['heatmaps'], path, None)


def _check_request(out: Path, format: str, precision: str, batch: int | None) -> None:
    if format not in FORMATS:
        raise InputError(f'--format must be one of {", ".join(FORMATS)}, got {format!r}')
    if precision not in PRECISIONS:
        raise InputError(f'--precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    suffix = FORMATS[format]
    if out.suffix != suffix:
        raise InputError(f'-o {out} must end in {suffix} for --format {format}')
    if batch is not None and batch < 1:
        raise InputError(f'--batch must be positive or "dynamic", got {batch}')
    if precision == 'int8' and batch not in (None, 1):
        raise InputError(f'int8 is calibrated image by image: --batch dynamic or 1, got {batch}')


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
    images = check_images(meta, batch or TRACE_BATCH)
    expected = reference(model, meta, images)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / f'draft{suffix}'
        first = meta
        if decode:
            # compared apart: the heatmaps with PyTorch's, and the keypoints
            # with what NumPy makes of the heatmaps
            first = replace(meta, outputs='heatmaps')
        _write(model, first, format, batch, crops, draft)
        outputs = load_engine(draft, first.task)(images)
        difference, spread = check(outputs, expected, first)
        if decode:
            _write(model, meta, format, batch, crops, draft)
            check_keypoints(
                load_engine(draft, meta.task)(images)[0], decoded(model, meta, outputs[0])
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(draft, out)
        weights = draft.with_suffix('.bin')
        if weights.exists():
            shutil.move(weights, out.with_suffix('.bin'))
    return Exported(out, meta, difference, spread)

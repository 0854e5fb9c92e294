"""Static int8 quantization by the engines' own tools.

Weights are quantized by channel to 7 bits in 8: CPUs without VNNI add two
products in 16 bits, which overflow otherwise. Which parts of the network stay
in float is measured on the calibration images, see :func:`sensitive_parts`.
"""

import copy
import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, DefaultScope
from tqdm import tqdm

from ..datasets.data_check import require_data
from ..errors import InputError
from ..runtime import topdown
from ..runtime.engines import cpu_count, onnxruntime_session
from ..runtime.media import IMAGE_SUFFIXES, list_files, read_image
from ..runtime.model_meta import INPUT_NAME, PoseMeta
from ..utils.config import image_loader
from .graphs import ImageGraph
from .onnx_passes import onnx_scope, own_biases, quiet
from .rewriting import InferenceAttention

#: Operators that ONNX Runtime quantizes.
OPERATORS = ['Add', 'Concat', 'Conv', 'DepthToSpace', 'MaxPool', 'Relu']
#: Root mean square error of the heatmaps, as a share of their deviation, that
#: is left alone. With clipped calibration images, the shipped model loses 0.6
#: points of PCK@0.2 at 0.08 and 1.4 at 0.19.
MAX_ERROR = 0.12
#: Beyond it a part stays in float if that removes this share of the squared
#: error...
MIN_GAIN = 0.2
#: ... and it has at most this share of the convolutions' weights.
MAX_COST = 0.15
#: Images that parts are compared on.
SENSITIVITY_IMAGES = 32


def calibration_crops(cfg: Config, meta: PoseMeta, folder: str | None, count: int) -> np.ndarray:
    """Return real images as the network will see them.

    Args:
        cfg (Config): Config with a ``train_dataloader``.
        meta (PoseMeta): What the file will say.
        folder (str, optional): Folder of images, each taken as one person;
            the config's training persons if None.
        count (int): How many to take, evenly spread.

    Returns:
        np.ndarray: uint8 in shape (N, h, w, 3), BGR.

    Raises:
        InputError: If there are none.
    """
    if count < 1:
        raise InputError(f'--calib-images must be positive, got {count}')
    if folder is not None:
        return _folder_crops(Path(folder), meta, count)
    try:
        require_data(cfg, 'train')
    except InputError as error:
        raise InputError(f'{error}; or give a folder of images: --calib DIR') from error
    dataset = cfg.train_dataloader.dataset.copy()
    dataset.pipeline = [
        image_loader(dataset.get('pipeline')),
        dict(type='GetBBoxCenterScale', padding=meta.bbox_padding),
        dict(type='TopdownAffine', input_size=meta.input_size),
    ]
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = DATASETS.build(dataset)
        indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset)))
        return np.stack([dataset[int(i)]['img'] for i in indices])


def _folder_crops(folder: Path, meta: PoseMeta, count: int) -> np.ndarray:
    if not folder.is_dir():
        raise InputError(f'--calib {folder} is no folder')
    files = list_files(folder, IMAGE_SUFFIXES)
    if files:
        indices = np.linspace(0, len(files) - 1, min(count, len(files)))
        files = [files[int(i)] for i in indices]
    crops = []
    for file in files:
        try:
            image = read_image(file)
        except InputError as error:
            print_log(f'left out: {error}', 'current', logging.WARNING)
            continue
        box = np.array([[0, 0, image.shape[1], image.shape[0]]])
        center, scale = topdown.boxes_to_center_scale(box, meta.input_size, meta.bbox_padding)
        crops.append(topdown.crop(image, center, scale, meta.input_size))
    if not crops:
        raise InputError(f'--calib {folder} holds no image that can be read')
    return np.concatenate(crops)


@dataclass
class Part:
    """A stretch of the network that is quantized or not as a whole.

    Args:
        nodes (list[str]): Names of its operators.
        weights (int): Number of its convolutions' weights.
    """

    nodes: list[str]
    weights: int = 0


def network_parts(model, graph: ImageGraph) -> dict[str, Part]:
    """Group a file's operators by the modules that they come from.

    Args:
        model (onnx.ModelProto): Written by
            :func:`lpn_mmpose.deploy.onnx_passes.to_onnx`.
        graph (ImageGraph): What it was written from.

    Returns:
        dict[str, Part]: By the names of :meth:`InferenceNetwork.parts`.

    Raises:
        ValueError: If a convolution belongs to none of them.
    """
    sizes = {w.name: int(np.prod(w.dims)) for w in model.graph.initializer}
    # the innermost first
    scopes = sorted(
        ((onnx_scope(graph, f'network.{name}'), name) for name in graph.network.parts()),
        key=lambda pair: -len(pair[0]),
    )
    parts = defaultdict(lambda: Part([]))
    for node in model.graph.node:
        name = next((name for scope, name in scopes if node.name.startswith(scope)), None)
        if name is not None:
            parts[name].nodes.append(node.name)
        elif node.op_type == 'Conv':
            raise ValueError(f'{node.name} is in no part of the network')
        if node.op_type == 'Conv':
            parts[name].weights += sizes.get(node.input[1], 0)
    return dict(parts)


def pools(graph: ImageGraph, name: str) -> bool:
    """Whether an operator pools a block's map for its attention.

    Args:
        graph (ImageGraph): What the file was written from.
        name (str): The operator's name.
    """
    for path, module in graph.named_modules():
        if isinstance(module, InferenceAttention) and name.startswith(onnx_scope(graph, path)):
            quantized = onnx_scope(graph, f'{path}.{module.quantized}')[:-1]
            # its layers may be called one by one
            return not name.startswith((f'{quantized}/', f'{quantized}.'))
    return False


class _OnnxQuantizer:
    """ONNX Runtime's static quantizer, calibrated once.

    Args:
        model (onnx.ModelProto): Model in float32.
        crops (np.ndarray): Calibration images (N, h, w, 3).
    """

    def __init__(self, model, crops: np.ndarray, folder: str) -> None:
        import onnx
        from onnxruntime.quantization.calibrate import create_calibrator

        own_biases(model)
        self._model = onnx.shape_inference.infer_shapes(model)
        plain = Path(folder) / 'inferred.onnx'
        onnx.save(self._model, plain)
        calibrator = create_calibrator(
            plain, OPERATORS, augmented_model_path=str(Path(folder) / 'augmented.onnx')
        )
        calibrator.collect_data(_Reader(crops))
        self._ranges = calibrator.compute_data()

    def __call__(self, excluded: list[str]):
        """Return the quantized model, the named operators in float."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        quantizer = QDQQuantizer(
            copy.deepcopy(self._model),
            per_channel=True,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=excluded,
            op_types_to_quantize=OPERATORS,
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        return quantizer.model.model


class _Reader:
    """Feeds images to ONNX Runtime's calibrator, one at a time."""

    def __init__(self, crops: np.ndarray) -> None:
        self._crops = iter(tqdm(crops, desc='calibrating', unit='image', leave=False))

    def get_next(self) -> dict | None:
        """Return the next input, None at the end."""
        crop = next(self._crops, None)
        return None if crop is None else {INPUT_NAME: crop[None]}

    def __iter__(self):
        return iter(self.get_next, None)


def _outputs(model, crops: np.ndarray) -> np.ndarray:
    """Run an ONNX model image by image and return its first output."""
    session = onnxruntime_session(model.SerializeToString(), cpu_count())
    return np.concatenate([session.run(None, {INPUT_NAME: crop[None]})[0] for crop in crops])


def sensitive_parts(
    outputs: Callable[[list[str]], np.ndarray], parts: dict[str, Part], expected: np.ndarray
) -> set[str]:
    """Find cheap parts that stay in float, as few as the error allows.

    Args:
        outputs (Callable): Computes the outputs of the quantized model whose
            named operators stay in float.
        parts (dict[str, Part]): From :func:`network_parts`.
        expected (np.ndarray): Outputs of the model in float32.

    Returns:
        set[str]: Names of parts to leave in float.
    """

    def error(excluded: set[str]) -> float:
        difference = outputs([n for name in excluded for n in parts[name].nodes]) - expected
        return float(np.square(difference).mean() / expected.var())

    total = sum(part.weights for part in parts.values())
    cheap = [name for name, part in parts.items() if 0 < part.weights <= MAX_COST * total]
    kept, now = set(), error(set())
    print_log(f"int8: error {now**0.5:.1%} of the heatmaps' deviation", 'current')
    if now <= MAX_ERROR**2:
        return kept
    gains = {
        name: 1 - error({name}) / now
        for name in tqdm(cheap, desc='sensitivity', unit='part', leave=False)
    }
    for name in sorted(gains, key=gains.get, reverse=True):
        if now <= MAX_ERROR**2 or gains[name] < MIN_GAIN:
            break
        kept.add(name)
        now = error(kept)
        print_log(f'int8: {now**0.5:.1%} with {name} in float', 'current')
    return kept


def _analysed(
    model, crops: np.ndarray, graph: ImageGraph | None, folder: str
) -> tuple[_OnnxQuantizer, list[str]]:
    """Calibrate, and name the operators that stay in float."""
    with quiet():
        quantizer = _OnnxQuantizer(model, crops, folder)
        if graph is None:
            return quantizer, []
        parts = network_parts(model, graph)
        some = crops[:: max(1, len(crops) // SENSITIVITY_IMAGES)]
        kept = sensitive_parts(
            lambda nodes: _outputs(quantizer(nodes), some), parts, _outputs(model, some)
        )
    return quantizer, [n for name in kept for n in parts[name].nodes]


def quantize_onnx(model, crops: np.ndarray, graph: ImageGraph | None = None):
    """Quantize by ONNX Runtime's static quantizer.

    Args:
        model (onnx.ModelProto): The model in float32.
        crops (np.ndarray): Calibration images (N, h, w, 3), uint8.
        graph (ImageGraph, optional): What the model was written from, to
            leave its sensitive parts in float. Default: None.

    Returns:
        onnx.ModelProto: The model in int8.
    """
    with tempfile.TemporaryDirectory() as folder:
        quantizer, kept = _analysed(model, crops, graph, folder)
        return quantizer(kept)


def quantize_openvino(path: Path, crops: np.ndarray, graph: ImageGraph | None = None):
    """Quantize by NNCF; sensitive parts are those of :func:`quantize_onnx`.

    The pooling of LPN's attention stays in float: it is no faster in int8.

    Args:
        path (Path): The model as ONNX in float32.
        crops (np.ndarray): Calibration images (N, h, w, 3), uint8.
        graph (ImageGraph, optional): See :func:`quantize_onnx`. Default: None.

    Returns:
        openvino.Model: The model in int8.
    """
    import nncf
    import onnx
    import openvino

    model = openvino.convert_model(path)
    names = []
    if graph is not None:
        with tempfile.TemporaryDirectory() as folder:
            _, kept = _analysed(onnx.load(path), crops, graph, folder)
        for node in model.get_ops():
            name = node.get_friendly_name()
            # a convolution with a bias becomes NAME/WithoutBiases and an Add, NAME
            if name.removesuffix('/WithoutBiases') in kept or pools(graph, name):
                names.append(name)
    nncf.set_log_level(logging.WARNING)
    return nncf.quantize(
        model,
        nncf.Dataset(list(crops[:, None])),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(crops),
        ignored_scope=nncf.IgnoredScope(names=names),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE
        ),
    )

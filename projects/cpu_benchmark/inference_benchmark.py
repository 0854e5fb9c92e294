#!/usr/bin/env python
"""Time LPN-50 and its peers on this machine's CPU, in one run.

Every row of the table is a callable; all are timed in one process, in turns,
so that whatever slows the machine down slows all rows alike.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import lpn_mmpose  # noqa: F401, puts the patches in place

# isort: split
import cv2
import numpy as np
import torch
from machine import machine
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from mmengine.utils import get_installed_path
from mmpose.apis import MMPoseInferencer
from torch import nn

from lpn_mmpose.analysis.complexity import complexity, settle
from lpn_mmpose.deploy.export import export, export_network, load_model
from lpn_mmpose.deploy.onnx_passes import ONNX_OPSET, quiet
from lpn_mmpose.deploy.quantization import quantize_onnx, quantize_openvino
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime import PoseRuntime, topdown
from lpn_mmpose.runtime.engines import onnxruntime_session
from lpn_mmpose.runtime.media import read_image
from lpn_mmpose.runtime.model_meta import INPUT_NAME
from lpn_mmpose.utils.config import input_size, load_config, set_input_size
from lpn_mmpose.utils.timing import interleave
from lpn_mmpose.zoo.model_index import find_model

#: The photograph that persons are cut out of.
IMAGE = Path(__file__).resolve().parents[2] / 'demo' / 'demo.jpg'
_PEERS = 'body_2d_keypoint/{}_coco-256x192.py'
#: Name to MMPose config; LPN-50 itself is the shipped model at 256x192.
PEERS = {
    'RTMPose-t': _PEERS.format('rtmpose/coco/rtmpose-t_8xb256-420e'),
    'RTMPose-s': _PEERS.format('rtmpose/coco/rtmpose-s_8xb256-420e'),
    'MobileNetV2': _PEERS.format('topdown_heatmap/coco/td-hm_mobilenetv2_8xb64-210e'),
    'SimpleBaseline-R50': _PEERS.format('topdown_heatmap/coco/td-hm_res50_8xb64-210e'),
    'HRNet-W32': _PEERS.format('topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e'),
}
OURS = 'LPN-50'
SIZE = (192, 256)
ENGINES = ('PyTorch', 'ONNX Runtime', 'OpenVINO')
PRECISIONS = ('fp32', 'fp16', 'bf16', 'int8')
#: Runs a round of the rows with the smallest batch, and of others one.
RUNS = 4


@dataclass
class Row:
    """A line of the table.

    Args:
        model (str): Name of the network.
        scope (str): ``'network'`` or ``'end to end'``.
        engine (str): One of :data:`ENGINES`, or ``'MMPoseInferencer'``.
        graph (str): ``'eager'``, ``'plain'`` (the trained modules as they
            are) or ``'rewritten'``.
        precision (str): One of :data:`PRECISIONS`.
        flip (bool): Whether mirrored images are averaged.
        batch (int): Images or persons of one call.
        run (Callable): Makes one call.
        macs (float): Multiply-accumulates of one call, in millions.
        times (list[float]): Measured times of one call in ms.
        peak (float, optional): Largest resident memory in MB of a process
            that does nothing else; measured on Linux.
    """

    model: str
    scope: str
    engine: str
    graph: str
    precision: str
    flip: bool
    batch: int
    run: Callable = field(repr=False, default=None)
    macs: float = 0.0
    times: list[float] = field(default_factory=list)
    peak: float | None = None

    @property
    def median(self) -> float:
        """Median time of one image or person in ms."""
        return statistics.median(self.times) / self.batch

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the time of one image in ms."""
        low, high = np.percentile(self.times, [25, 75]) / self.batch
        return float(low), float(high)

    @property
    def gflops(self) -> float:
        """Work done, at two operations a MAC, in 1e9/s."""
        return 2 * self.macs / self.batch / self.median


class _Plain(nn.Module):
    """The trained modules from normalised images on, as MMPose runs them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x, None, mode='tensor')


def onnxruntime_call(path: Path, inputs: np.ndarray, threads: int) -> Callable:
    """Return a call of an ONNX file, with the options of our runtime."""
    session = onnxruntime_session(str(path), threads)
    return lambda: session.run(None, {INPUT_NAME: inputs})


def openvino_call(path: Path, inputs: np.ndarray, threads: int, precision: str = 'f32') -> Callable:
    """Return a call of an OpenVINO or ONNX file, likewise."""
    import openvino

    compiled = openvino.Core().compile_model(
        str(path),
        'CPU',
        {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_NUM_THREADS': threads,
            'INFERENCE_PRECISION_HINT': precision,
        },
    )
    request = compiled.create_infer_request()
    return lambda: request.infer({INPUT_NAME: inputs}, share_inputs=True)


def inferencer_call(inferencer: MMPoseInferencer, image: np.ndarray, boxes: np.ndarray) -> Callable:
    """Return a call of MMPose's inferencer on given boxes.

    It overlooks its argument ``bboxes`` (mmpose 1.3.2), hence a detector that
    has found them already.
    """
    found = DetDataSample(
        pred_instances=InstanceData(
            bboxes=torch.from_numpy(boxes),
            scores=torch.ones(len(boxes)),
            labels=torch.zeros(len(boxes), dtype=torch.long),
        )
    )

    def call():
        pose = inferencer.inferencer
        pose.detector = lambda *_, **__: dict(predictions=[found])
        pose.det_cat_ids = [0]
        return next(inferencer(image, bbox_thr=0.0, nms_thr=1.0))

    return call


def has_bf16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this CPU."""
    import openvino

    return 'BF16' in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


class Limits:
    """What the machine reaches in a product of large matrices, and copying.

    Args:
        threads (int): Threads to use.

    Attributes:
        calls (dict[str, Callable]): What to time.
    """

    def __init__(self, threads: int) -> None:
        import onnx

        side = 1024
        nodes = {
            'fp32': ('MatMul', onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT),
            'int8': ('MatMulInteger', onnx.TensorProto.UINT8, onnx.TensorProto.INT32),
        }
        rng = np.random.default_rng(0)
        self.calls: dict[str, Callable] = {}
        self._work: dict[str, float] = {}
        for name, (operator, kind, result) in nodes.items():
            weights = rng.integers(-60, 60, (side, side))
            images = rng.integers(0, 120, (side, side))
            weights = weights.astype('f4' if name == 'fp32' else 'i1')
            images = images.astype('f4' if name == 'fp32' else 'u1')
            make, shape = onnx.helper, [side, side]
            graph = make.make_graph(
                [make.make_node(operator, [INPUT_NAME, 'w'], ['y'])],
                'limit',
                [make.make_tensor_value_info(INPUT_NAME, kind, shape)],
                [make.make_tensor_value_info('y', result, shape)],
                [onnx.numpy_helper.from_array(weights, 'w')],
            )
            model = make.make_model(
                graph, opset_imports=[make.make_opsetid('', ONNX_OPSET)], ir_version=8
            )
            session = onnxruntime_session(model.SerializeToString(), threads)
            self.calls[name] = partial(session.run, None, {INPUT_NAME: images})
            self._work[name] = 2 * side**3
        source = np.ones(2**25, np.float32)
        self.calls['copy'] = partial(np.copyto, np.empty_like(source), source)
        self._work['copy'] = 2 * source.nbytes

    def best(self, seconds: dict[str, list[float]]) -> dict[str, float]:
        """Return the best of the measured times.

        Args:
            seconds (dict): Times of :attr:`calls` in s.

        Returns:
            dict[str, float]: ``fp32`` and ``int8`` (unsigned by signed, in
            ONNX Runtime) in 1e9 operations a second, ``copy`` in GB/s.
        """
        return {name: self._work[name] / min(seconds[name]) / 1e9 for name in self.calls}


def peak_memory(path: Path, backend: str, threads: int, persons: int) -> float:
    """Measure the memory of a process that runs a file in our runtime.

    Args:
        path (Path): An exported pose model.
        backend (str): ``'onnxruntime'`` or ``'openvino'``.
        threads (int): Threads to use.
        persons (int): Persons of an image.

    Returns:
        float: Largest resident memory in MB.
    """
    program = Path(__file__).with_name('peak_memory.py')
    command = [sys.executable, program, path, backend, threads, persons]
    run = subprocess.run(map(str, command), capture_output=True, text=True, check=True)
    return int(run.stdout) / 1024


def scene(path: Path, persons: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a photograph at 640x480, and boxes xyxy in it.

    Args:
        path (Path): The photograph.
        persons (int): How many boxes.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        image = read_image(path)
    except InputError as error:
        raise InputError(f'{error}; give one: --image') from error
    rng = np.random.default_rng(0)
    corner = rng.uniform((0, 0), (400, 150), (persons, 2))
    size = rng.uniform((90, 180), (220, 320), (persons, 2))
    boxes = np.hstack([corner, corner + size]).astype(np.float32)
    return cv2.resize(image, (640, 480)), boxes


@dataclass
class Request:
    """What to measure: everything that is in all of these.

    ``calibration`` is a folder of persons to quantize on; None for those cut
    out of the photograph.
    """

    image: Path
    models: Sequence[str] = (OURS, *PEERS)
    engines: Sequence[str] = ENGINES
    precisions: Sequence[str] = PRECISIONS
    batches: Sequence[int] = (1, 16)
    flips: Sequence[bool] = (False, True)
    scopes: Sequence[str] = ('network', 'end to end')
    threads: int = 2
    repeats: int = 30
    memory: bool = True
    calibration: str | None = None


class Benchmark:
    """Makes the rows, and measures them.

    Args:
        request (Request): What to measure.
        folder (Path): Where the exported files go.
    """

    def __init__(self, request: Request, folder: Path) -> None:
        self.request, self.folder = request, folder
        self.rows: list[Row] = []
        self.files: dict[tuple, Path] = {}
        folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(request.threads)
        config, self._weights = find_model('lpn50-lsp')
        self._config = load_config(config)
        set_input_size(self._config, SIZE)

    def _wanted(self, engine: str, precision: str) -> bool:
        if precision == 'bf16' and (engine != 'OpenVINO' or not has_bf16()):
            return False
        return engine in self.request.engines and precision in self.request.precisions

    def _images(self, batch: int) -> np.ndarray:
        """Return the crops that the runtime would make (N, h, w, 3)."""
        image, boxes = scene(self.request.image, batch)
        center, scale = topdown.boxes_to_center_scale(boxes, SIZE)
        return topdown.crop(image, center, scale, SIZE)

    def _normalized(self, batch: int) -> torch.Tensor:
        images = torch.from_numpy(self._images(batch)).permute(0, 3, 1, 2)
        return (images.float() - 120) / 57

    def _add(self, call: Callable, **kwargs) -> None:
        row = Row(run=call, **kwargs)
        print_log(
            f'{row.model} {row.scope} {row.engine} {row.graph} '
            f'{row.precision} flip {row.flip} batch {row.batch}',
            'current',
        )
        self.rows.append(row)

    def prepare(self) -> None:
        """Export all files and load them."""
        for name in self.request.models:
            if 'network' not in self.request.scopes and name != OURS:
                continue
            print_log(f'exporting {name}', 'current')
            if name == OURS:
                self._prepare_ours()
            else:
                self._prepare_peer(name)

    def _plain_rows(self, name: str, model: nn.Module, macs: float) -> None:
        """PyTorch eager, and its ONNX export as it is."""
        if self._wanted('PyTorch', 'fp32'):
            plain = _Plain(model)
            for batch in self.request.batches:
                inputs = self._normalized(batch)

                def call(inputs=inputs):
                    with torch.inference_mode():
                        return plain(inputs)

                self._add(
                    call,
                    model=name,
                    scope='network',
                    engine='PyTorch',
                    graph='eager',
                    precision='fp32',
                    flip=False,
                    batch=batch,
                    macs=macs * batch,
                )
        if name != OURS:
            return
        for batch in self.request.batches:
            path = self.folder / f'{name}-plain-{batch}.onnx'
            inputs = self._normalized(batch)
            with quiet(), torch.no_grad():
                torch.onnx.export(
                    _Plain(model),
                    (inputs,),
                    str(path),
                    dynamo=False,
                    opset_version=ONNX_OPSET,
                    input_names=[INPUT_NAME],
                )
            self._engine_rows(
                name,
                path,
                path,
                'plain',
                'fp32',
                False,
                batch,
                macs,
                np.ascontiguousarray(inputs.numpy()),
            )

    def _engine_rows(
        self,
        name: str,
        onnx: Path | None,
        openvino: Path | None,
        graph: str,
        precision: str,
        flip: bool,
        batch: int,
        macs: float,
        inputs: np.ndarray,
    ) -> None:
        """A row for each engine that has a file."""
        threads = self.request.threads
        common = dict(
            model=name,
            scope='network',
            graph=graph,
            flip=flip,
            batch=batch,
            macs=macs * batch * (1 + flip),
        )
        if onnx and self._wanted('ONNX Runtime', precision):
            self._add(
                onnxruntime_call(onnx, inputs, threads),
                engine='ONNX Runtime',
                precision=precision,
                **common,
            )
        if openvino and self._wanted('OpenVINO', precision):
            self._add(
                openvino_call(openvino, inputs, threads),
                engine='OpenVINO',
                precision=precision,
                **common,
            )
        if (
            openvino
            and precision == 'fp32'
            and graph == 'rewritten'
            and self._wanted('OpenVINO', 'bf16')
        ):
            self._add(
                openvino_call(openvino, inputs, threads, 'bf16'),
                engine='OpenVINO',
                precision='bf16',
                **common,
            )

    def _prepare_ours(self) -> None:
        request = self.request
        model = load_model(self._config, self._weights)
        macs = complexity(model, SIZE)['macs'] / 1e6
        if 'network' in request.scopes:
            self._plain_rows(OURS, model, macs)
        calibration = request.calibration
        if calibration is None:
            calibration = str(self.folder / 'calibration')
            Path(calibration).mkdir(exist_ok=True)
            for i, crop in enumerate(self._images(16)):
                cv2.imwrite(f'{calibration}/{i}.png', crop)
        for precision, flip in product(('fp32', 'fp16', 'int8'), request.flips):
            files = dict(onnx=None, openvino=None)
            for format, engine in (('onnx', 'ONNX Runtime'), ('openvino', 'OpenVINO')):
                bf16 = precision == 'fp32' and self._wanted(engine, 'bf16')
                if not bf16 and not self._wanted(engine, precision):
                    continue
                suffix = '.onnx' if format == 'onnx' else '.xml'
                stem = f'{OURS}-{precision}{"-flip" if flip else ""}'
                files[format] = self.folder / f'{stem}{suffix}'
                export(
                    self._config,
                    self._weights,
                    files[format],
                    format,
                    precision,
                    flip=flip,
                    calibration=calibration,
                )
                self.files[engine, precision, flip] = files[format]
            if 'network' in request.scopes:
                for batch in request.batches:
                    self._engine_rows(
                        OURS,
                        files['onnx'],
                        files['openvino'],
                        'rewritten',
                        precision,
                        flip,
                        batch,
                        macs,
                        self._images(batch),
                    )
        if 'end to end' in request.scopes:
            self._end_to_end_rows(macs)

    def _end_to_end_rows(self, macs: float) -> None:
        """Image array in, keypoints out; and MMPose's own way."""
        for (engine, precision, flip), path in self.files.items():
            if not self._wanted(engine, precision):
                continue
            backend = engine.replace(' ', '').lower()
            pose = PoseRuntime(path, backend, self.request.threads)
            for batch in self.request.batches:
                image, boxes = scene(self.request.image, batch)
                self._add(
                    lambda p=pose, i=image, b=boxes: p(i, b),
                    model=OURS,
                    scope='end to end',
                    engine=engine,
                    graph='rewritten',
                    precision=precision,
                    flip=flip,
                    batch=batch,
                    macs=macs * batch * (1 + flip),
                )
        if not self._wanted('PyTorch', 'fp32'):
            return
        path = self.folder / 'mmpose.py'
        for flip in self.request.flips:
            config = Config(self._config.to_dict())
            config.model.test_cfg.flip_test = flip
            config.dump(path)
            with quiet():
                inferencer = MMPoseInferencer(
                    str(path), self._weights, device='cpu', show_progress=False
                )
            for batch in self.request.batches:
                image, boxes = scene(self.request.image, batch)
                self._add(
                    inferencer_call(inferencer, image, boxes),
                    model=OURS,
                    scope='end to end',
                    engine='MMPoseInferencer',
                    graph='eager',
                    precision='fp32',
                    flip=flip,
                    batch=batch,
                    macs=macs * batch * (1 + flip),
                )

    def _prepare_peer(self, name: str) -> None:
        """A model of MMPose's with random weights, in the same graph."""
        folder = Path(get_installed_path('mmpose')) / '.mim' / 'configs'
        cfg = load_config(str(folder / PEERS[name]))
        for part in ('backbone', 'neck'):
            if cfg.model.get(part):  # weights are downloaded otherwise
                cfg.model[part].init_cfg = None
        size = input_size(cfg)
        model = settle(load_model(cfg), size)
        macs = complexity(model, size)['macs'] / 1e6
        self._plain_rows(name, model, macs)
        fp32 = self.folder / f'{name}-fp32.onnx'
        export_network(model, size, fp32)
        files = {'fp32': (fp32, fp32)}
        if self._wanted('ONNX Runtime', 'int8') or self._wanted('OpenVINO', 'int8'):
            files['int8'] = self._quantized_peer(name, fp32)
        for precision, (onnx, openvino) in files.items():
            for batch in self.request.batches:
                self._engine_rows(
                    name,
                    onnx,
                    openvino,
                    'rewritten',
                    precision,
                    False,
                    batch,
                    macs,
                    self._images(batch),
                )

    def _quantized_peer(self, name: str, fp32: Path) -> tuple[Path, Path]:
        import onnx
        import openvino

        crops = self._images(4)
        paths = (self.folder / f'{name}-int8.onnx', self.folder / f'{name}-int8.xml')
        onnx.save(quantize_onnx(onnx.load(fp32), crops), paths[0])
        openvino.save_model(quantize_openvino(fp32, crops), paths[1], compress_to_fp16=False)
        return paths

    def run(self) -> dict:
        """Time all rows in turns, then measure memory.

        Returns:
            dict: ``machine``, ``request``, ``limits`` and ``rows``, for
            JSON.
        """
        request = self.request
        limits = Limits(request.threads)
        # what is compared is timed within seconds, as the clock drifts
        groups = [
            [row for row in self.rows if row.batch == batch] for batch in sorted(request.batches)
        ]
        calls = [pair for pair in limits.calls.items() for _ in range(RUNS)]
        for group in groups:
            runs = RUNS if group is groups[0] else 1
            calls += [(id(row), row.run) for _ in range(runs) for row in group]
        seconds = interleave(calls, request.repeats, warm_up=1)
        for row in self.rows:
            row.times = [1e3 * t for t in seconds[id(row)]]
        for row in self.rows:
            path = self.files.get((row.engine, row.precision, row.flip))
            if request.memory and row.scope == 'end to end' and path and sys.platform == 'linux':
                row.peak = peak_memory(
                    path, row.engine.replace(' ', '').lower(), request.threads, row.batch
                )
        return dict(
            machine=machine(engines=True),
            request=dict(
                asdict(request),
                image=request.image.name,
                calibration=request.calibration and Path(request.calibration).name,
            ),
            limits=limits.best(seconds),
            rows=[row_json(row) for row in self.rows],
        )


def row_json(row: Row) -> dict:
    """Return a row's settings and results for JSON; times in ms a person."""
    content = {
        key: getattr(row, key)
        for key in (
            'model',
            'scope',
            'engine',
            'graph',
            'precision',
            'flip',
            'batch',
            'macs',
            'peak',
        )
    }
    low, high = row.quartiles
    return dict(content, median=row.median, q1=low, q3=high, gflops=row.gflops, runs=len(row.times))


def find(result: dict, **settings) -> dict | None:
    """Return the fastest row of a result that has these settings."""
    rows = [
        row for row in result['rows'] if all(row[key] == value for key, value in settings.items())
    ]
    return min(rows, key=lambda row: row['median'], default=None)


def comparisons(result: dict) -> list[tuple[str, float]]:
    """Compare rows of a result.

    Args:
        result (dict): From :meth:`Benchmark.run`.

    Returns:
        list[tuple]: What is compared, and its value. What the result has no
        rows for is left out. docs/performance.md has what is aimed at.
    """
    network = dict(scope='network', flip=False, batch=1)
    ours = dict(network, model=OURS, graph='rewritten')
    eager = find(result, **network, model=OURS, graph='eager')
    plain = find(result, **network, model=OURS, graph='plain')
    fp32 = find(result, **ours, precision='fp32')
    low = [find(result, **ours, precision=p) for p in ('bf16', 'int8')]
    fast = min((r for r in low if r), key=lambda r: r['median'], default=None)
    small = find(result, **network, model='RTMPose-s', graph='rewritten', precision='fp32')
    lines = []

    def add(name, row, other, key='median'):
        if row and other:
            lines.append((name, row[key] / other[key]))

    add('fp32, times PyTorch eager', eager, fp32)
    add('fp32, times plain ONNX export', plain, fp32)
    add('fp32, GFLOP/s as a multiple of RTMPose-s', fp32, small, 'gflops')
    if fast:
        precision = fast['precision']
        same = find(result, **network, model='RTMPose-s', graph='rewritten', precision=precision)
        add(f'{precision}, times PyTorch eager', eager, fast)
        add(f'{precision}, times our fp32', fp32, fast)
        add(f'{precision}, time as a share of RTMPose-s in fp32', fast, small)
        add(f'{precision}, GFLOP/s as a multiple of RTMPose-s', fast, same, 'gflops')
    ends = dict(model=OURS, scope='end to end', flip=False)
    whole = find(result, **ends, graph='rewritten', batch=1)
    if whole:
        way = dict(engine=whole['engine'], precision=whole['precision'])
        add('one person end to end, times the network alone', whole, find(result, **ours, **way))
        many = find(result, **ends, **way, batch=16)
        add('a person of sixteen, as a share of one alone', many, whole)
        mmpose = find(result, engine='MMPoseInferencer', flip=False, batch=1)
        add('end to end, times MMPoseInferencer', mmpose, whole)
    return lines


def markdown(result: dict) -> str:
    """Lay a result out as Markdown.

    Args:
        result (dict): From :meth:`Benchmark.run`.
    """
    info, limits = result['machine'], result['limits']
    lines = [
        f'{info["cpu"]}, {result["request"]["threads"]} threads; PyTorch '
        f'{info["torch"]}, ONNX Runtime {info["onnxruntime"]}, OpenVINO '
        f'{info["openvino"]}. Median and quartiles of '
        f'{min(row["runs"] for row in result["rows"])} to '
        f'{max(row["runs"] for row in result["rows"])} runs in turns, ms a '
        'person. At its best, the '
        f'machine multiplies matrices at {limits["fp32"]:.0f} GFLOP/s in '
        f'fp32 and {limits["int8"]:.0f} GOP/s in int8, and copies '
        f'{limits["copy"]:.1f} GB/s.',
        '',
        '| model | scope | engine | graph | precision | flip | persons | ms '
        '| quartiles | GFLOP/s | of the limit | peak MB |',
        '|---|---|---|---|---|---|---|---|---|---|---|---|',
    ]
    for row in result['rows']:
        limit = limits.get('int8' if row['precision'] == 'int8' else 'fp32')
        share = '' if row['precision'] == 'bf16' else (f'{row["gflops"] / limit:.0%}')
        peak = '' if row['peak'] is None else f'{row["peak"]:.0f}'
        lines.append(
            f'| {row["model"]} | {row["scope"]} | {row["engine"]} '
            f'| {row["graph"]} | {row["precision"]} '
            f'| {"yes" if row["flip"] else "no"} | {row["batch"]} '
            f'| **{row["median"]:.1f}** | {row["q1"]:.1f}–{row["q3"]:.1f} '
            f'| {row["gflops"]:.0f} | {share} | {peak} |'
        )
    lines += ['', '| comparison | value |', '|---|---|']
    lines += [f'| {name} | {value:.2f} |' for name, value in comparisons(result)]
    return '\n'.join(lines) + '\n'


def chart(result: dict, path: Path) -> None:
    """Draw the networks' times for one person.

    Args:
        result (dict): From :meth:`Benchmark.run`.
        path (Path): Picture to write.
    """
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    rows = [
        row
        for row in result['rows']
        if row['scope'] == 'network' and not row['flip'] and row['batch'] == 1
    ] or result['rows']
    rows = sorted(rows, key=lambda row: row['median'])
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.27 * len(rows)), layout='constrained')
    names = [
        f'{r["model"]}  {r["engine"]} '
        f'{r["graph"] + " " if r["graph"] != "rewritten" else ""}'
        f'{r["precision"]}'
        for r in rows
    ]
    for y, row in enumerate(rows):
        color = '#d1495b' if row['model'] == OURS else '#5b6f86'
        axes.plot([row['q1'], row['q3']], [y, y], color=color, lw=2, alpha=0.5)
        axes.plot(row['median'], y, 'o', color=color, ms=6)
        axes.annotate(
            f'{row["median"]:.1f}',
            (row['q3'], y),
            (6, 0),
            textcoords='offset points',
            va='center',
            fontsize=8,
        )
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale('log')
    axes.set_xlim(right=max(row['q3'] for row in rows) * 1.5)
    axes.grid(axis='x', alpha=0.3, which='both')
    axes.set_xlabel('ms a 256x192 crop (median, quartiles; logarithmic)')
    axes.set_title(
        f'{result["machine"]["cpu"].strip()}, {result["request"]["threads"]} threads', fontsize=10
    )
    axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def parse_args():
    default = Request(IMAGE)
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--image', type=Path, default=IMAGE, help='photograph of persons')
    parser.add_argument('--models', nargs='+', choices=[OURS, *PEERS], default=default.models)
    parser.add_argument('--engines', nargs='+', choices=ENGINES, default=default.engines)
    parser.add_argument('--precisions', nargs='+', choices=PRECISIONS, default=default.precisions)
    parser.add_argument('--batches', nargs='+', type=int, default=default.batches)
    parser.add_argument('--flip', choices=['both', 'no', 'yes'], default='both')
    parser.add_argument('--scopes', nargs='+', choices=default.scopes, default=default.scopes)
    parser.add_argument('--threads', type=int, default=default.threads)
    parser.add_argument(
        '--repeats',
        type=int,
        default=default.repeats,
        help='rounds: a run of every row, four of the smallest batch',
    )
    parser.add_argument('--no-memory', action='store_true', help='do not measure peak memory')
    parser.add_argument(
        '--calib', help='folder of persons to calibrate int8 on; those of --image if not given'
    )
    parser.add_argument('--out-dir', default='outputs/benchmark_inference', help='folder')
    return parser.parse_args()


def main():
    args = parse_args()
    for name in ('batches', 'threads', 'repeats'):
        if np.min(getattr(args, name)) < 1:
            fail(InputError(f'--{name} must be positive, got {getattr(args, name)}'))
    flips = dict(both=(False, True), no=(False,), yes=(True,))[args.flip]
    request = Request(
        args.image,
        args.models,
        args.engines,
        args.precisions,
        sorted(set(args.batches)),
        flips,
        args.scopes,
        args.threads,
        args.repeats,
        not args.no_memory,
        args.calib,
    )
    out = Path(args.out_dir)
    try:
        benchmark = Benchmark(request, out / 'models')
        benchmark.prepare()
        if not benchmark.rows:
            raise InputError('the options leave no row to measure')
        result = benchmark.run()
    except (InputError, OSError) as error:
        fail(error)
    (out / 'benchmark_inference.json').write_text(json.dumps(result, indent=1))
    (out / 'benchmark_inference.md').write_text(markdown(result))
    chart(result, out / 'benchmark_inference.png')
    print(markdown(result))
    for suffix in ('json', 'md', 'png'):
        print(out / f'benchmark_inference.{suffix}')


if __name__ == '__main__':
    main()

"""Inference engines behind one call: images in, arrays out."""

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from weakref import WeakSet

import numpy as np

from ..errors import InputError
from . import model_meta

#: Where models are looked for by name.
WEIGHTS_DIR = Path(__file__).resolve().parents[1] / 'weights'
#: Pixels of a batch that are taken for a model's.
MAX_PIXELS = 2**28
#: What a model's file may end with, and the engine that it is for.
SUFFIXES = {'.onnx': 'onnxruntime', '.xml': 'openvino'}


def find_exported_model(model: str | Path, folder: Path = WEIGHTS_DIR) -> Path:
    """Find the file of an exported model.

    Args:
        model (str | Path): Its path, or the name of a file in ``folder`` with
            or without suffix.
        folder (Path): Default: the package's ``weights``.

    Raises:
        InputError: If there is no such file.
    """
    path = Path(model)
    candidates = [path, folder / path]
    candidates += [folder / f'{model}{suffix}' for suffix in SUFFIXES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    there = sorted(p.name for p in folder.glob('*') if p.suffix in SUFFIXES)
    raise InputError(
        f'model {model} is neither a file nor one of those in {folder} '
        f'({", ".join(there) or "none"}); make it from a config and its '
        'weights: python tools/deployment/export.py CONFIG CHECKPOINT '
        f'--format onnx -o {path.stem}.onnx'
    )


def cpu_count() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_ENGINES = WeakSet()


def _after_fork() -> None:
    """Let a forked process load its models again.

    What it has of its parent's waits for threads that are not here when it is used or freed, so
    it is kept for ever.
    """
    for engine in _ENGINES:
        of_parent = vars(engine).copy()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(of_parent))
        engine._loaded = False


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_after_fork)


class Engine:
    """A loaded model.

    Several threads may use it at once. Copies, unpickled ones and forked processes load the model
    themselves.

    Args:
        path (Path): Model file.
        threads (int): Threads to use.

    Attributes:
        meta (ModelMeta): What the model says about itself.
        batch (int, optional): Images it takes at once; None for any number.

    Raises:
        InputError: If the engine is not installed, or the file is damaged or
            no export of this package.
    """

    #: Name of the engine's package.
    package: str

    def __init__(self, path: Path, threads: int) -> None:
        self.path, self.threads = path.resolve(), threads
        self._start()
        _ENGINES.add(self)

    def _start(self) -> None:
        self._lock = Lock()
        path = self.path
        try:
            text = self._load()
        except ImportError as error:
            raise InputError(
                f'{self.package} cannot be imported ({error}): pip install {self.package}'
            ) from error
        except Exception as error:  # of each engine's own classes
            raise InputError(f'model {path} cannot be loaded by {self.package}: {error}') from error
        if text is None:
            raise InputError(
                f'model {path} lacks the metadata {model_meta.KEY!r}: export '
                'it with tools/deployment/export.py'
            )
        try:
            self.meta = model_meta.ModelMeta.from_json(text)
        except ValueError as error:
            raise InputError(f'model {path}: {error}') from error
        self._check_graph()
        self._loaded = True

    def __reduce__(self):
        """Let copies and unpickled ones load the model themselves."""
        return type(self), (self.path, self.threads)

    def _check_graph(self) -> None:
        """Check that the graph is the one that the metadata describe.

        Raises:
            InputError: If it is not.
        """
        name, shape = self._input
        width, height = self.meta.input_size
        wanted = (self.batch, height, width, 3)
        if name != model_meta.INPUT_NAME or len(shape) != 4:
            raise InputError(f'model {self.path} takes {name!r} {shape}, not an image')
        if any(isinstance(s, int) and s != w for s, w in zip(shape, wanted)):
            raise InputError(
                f'model {self.path} takes images of shape {shape}, its metadata say '
                f'{width}x{height}'
            )
        if (self.batch or 1) * height * width > MAX_PIXELS:
            raise InputError(f'model {self.path} takes {shape} at once: too much for any machine')
        missing = set(model_meta.OUTPUT_NAMES[self.meta.outputs]) - set(self._outputs)
        if missing:
            raise InputError(f'model {self.path} has no output {", ".join(sorted(missing))}')

    def _check_outputs(self, arrays: Sequence[np.ndarray], count: int) -> None:
        """Check the shapes of what the model gave for ``count`` images."""
        meta = self.meta
        if meta.outputs == 'boxes':
            candidates = arrays[0].shape[1:2]
            wanted = [(count, *candidates, 4), (count, *candidates)]
        elif meta.outputs == 'keypoints':
            keypoints = len(meta.keypoint_names)
            wanted = [(count, keypoints, 2), (count, keypoints)]
        else:
            wanted = [(count, len(meta.keypoint_names), *meta.heatmap_size[::-1])]
        given = [array.shape for array in arrays]
        if given != wanted:
            raise InputError(
                f'model {self.path} gives arrays of shapes {given}, its metadata say {wanted}'
            )

    def _load(self) -> str | None:
        """Load the model and return the metadata's text.

        Sets ``batch``, ``_input`` (name and shape of the input; a dimension
        that is free is no int) and ``_outputs`` (names of the outputs).
        """
        raise NotImplementedError

    def _infer(self, images: np.ndarray) -> list[np.ndarray]:
        """Run a batch, all threads on one layer after the other."""
        raise NotImplementedError

    def _infer_apart(self, parts: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Run batches side by side, one thread each."""
        raise NotImplementedError

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Run the model.

        Threads that share a layer wait for each other at its end, hence each
        takes images of its own as long as there are enough.

        Args:
            images (np.ndarray): uint8 in shape (N, h, w, 3).

        Returns:
            list[np.ndarray]: The model's outputs, N rows each, in the order
            of :data:`lpn_mmpose.runtime.model_meta.OUTPUT_NAMES`.

        Raises:
            InputError: If the graph fails, or gives other shapes than its
                metadata say.
        """
        if not self._loaded:
            self._start()
        if not len(images):
            one = np.zeros((1, *images.shape[1:]), np.uint8)
            return [array[:0] for array in self(one)]
        size = self.batch or 1
        parts = [
            self._filled(images[start : start + size]) for start in range(0, len(images), size)
        ]
        apart = 0
        if self.threads > 1:
            apart = len(parts) - len(parts) % self.threads
            if len(parts) - apart > self.threads / 2:
                apart = len(parts)
        try:
            results = self._infer_apart(parts[:apart]) if apart else []
            if parts[apart:] and self.batch is None:
                results.append(self._infer(images[apart:]))
            else:
                results += map(self._infer, parts[apart:])
        except Exception as error:  # of each engine's own classes
            raise InputError(
                f'model {self.path} cannot be run by {self.package}: {error}'
            ) from error
        arrays = [np.concatenate(parts)[: len(images)] for parts in zip(*results)]
        self._check_outputs(arrays, len(images))
        return arrays

    def _filled(self, images: np.ndarray) -> np.ndarray:
        """Fill a batch up to the size that the model takes."""
        missing = (self.batch or len(images)) - len(images)
        if not missing:
            return images
        return np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)])


def onnxruntime_session(model: str | bytes, threads: int):
    """Load an ONNX model into ONNX Runtime.

    Its threads stop spinning when a run ends. Otherwise they take the CPU
    from whatever comes next, such as a second model: two on two cores, in
    turns, take twice as long each.

    Args:
        model (str | bytes): Its file, or what is in it.
        threads (int): Threads to use.

    Returns:
        onnxruntime.InferenceSession: The session.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry('session.force_spinning_stop', '1')
    # without its fallback, which prints and tries the same again
    return onnxruntime.InferenceSession(
        model, options, providers=['CPUExecutionProvider'], enable_fallback=0
    )


class OnnxRuntimeEngine(Engine):
    """`ONNX Runtime <https://onnxruntime.ai>`_ on CPUs."""

    package = 'onnxruntime'

    def _load(self) -> str | None:
        self._session = onnxruntime_session(str(self.path), self.threads)
        self._single = None
        first = self._session.get_inputs()[0]
        self._input = first.name, list(first.shape)
        self._outputs = [output.name for output in self._session.get_outputs()]
        batch = first.shape[0]
        self.batch = batch if isinstance(batch, int) else None
        properties = self._session.get_modelmeta().custom_metadata_map
        return properties.get(model_meta.KEY)

    def _run(self, session, images: np.ndarray) -> list[np.ndarray]:
        names = model_meta.OUTPUT_NAMES[self.meta.outputs]
        return session.run(names, {model_meta.INPUT_NAME: images})

    def _infer(self, images: np.ndarray) -> list[np.ndarray]:
        return self._run(self._session, images)

    def _infer_apart(self, parts: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        with self._lock:
            if self._single is None:
                self._single = onnxruntime_session(str(self.path), 1)
                self._pool = ThreadPoolExecutor(self.threads)
        return list(self._pool.map(lambda part: self._run(self._single, part), parts))


class OpenVinoEngine(Engine):
    """`OpenVINO <https://docs.openvino.ai>`_ on CPUs, in the file's precision.

    Reads ``.xml`` and ``.onnx``.
    """

    package = 'openvino'

    def _load(self) -> str | None:
        import openvino

        model = openvino.Core().read_model(self.path)
        first = model.inputs[0]
        shape = [None if side.is_dynamic else side.get_length() for side in first.partial_shape]
        self._input, self.batch = (first.get_any_name(), shape), shape[0]
        self._outputs = [name for output in model.outputs for name in output.get_names()]
        self._model = self._compile(model, streams=1)
        self._requests = None
        # rt_info of an .xml; an .onnx file's properties are under 'framework'
        for keys in ([model_meta.KEY], ['framework', model_meta.KEY]):
            if model.has_rt_info(keys):
                return model.get_rt_info(keys).astype(str)
        return None

    def _compile(self, model, streams: int):
        import openvino

        # the default would be bfloat16 on CPUs that have it
        return openvino.Core().compile_model(
            model,
            'CPU',
            {
                'NUM_STREAMS': streams,
                'INFERENCE_NUM_THREADS': self.threads,
                'INFERENCE_PRECISION_HINT': 'f32',
            },
        )

    def _infer(self, images: np.ndarray) -> list[np.ndarray]:
        with self._lock:  # the compiled model has one request
            results = self._model(images, share_inputs=True)
        return [results[name] for name in model_meta.OUTPUT_NAMES[self.meta.outputs]]

    def _infer_apart(self, parts: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        names = model_meta.OUTPUT_NAMES[self.meta.outputs]
        with self._lock:
            if self._requests is None:
                model = self._compile(self.path, streams=self.threads)
                self._requests = [model.create_infer_request() for _ in range(self.threads)]
            results = []
            try:
                for start in range(0, len(parts), self.threads):
                    running = list(zip(self._requests, parts[start : start + self.threads]))
                    for request, part in running:
                        request.start_async({model_meta.INPUT_NAME: part}, share_inputs=True)
                    for request, _ in running:
                        request.wait()  # raises what went wrong in the request
                        results.append([request.get_tensor(name).data.copy() for name in names])
            except BaseException:
                self._requests = None  # some may still run
                raise
        return results


ENGINES = {cls.package: cls for cls in (OnnxRuntimeEngine, OpenVinoEngine)}


def load_engine(
    model: str | Path, task: str, backend: str | None = None, threads: int | None = None
) -> Engine:
    """Load an exported model.

    Args:
        model (str | Path): See :func:`find_exported_model`.
        task (str): What it must be for, ``'pose'`` or ``'detection'``.
        backend (str, optional): ``'onnxruntime'`` or ``'openvino'``; None for
            the one that the file's suffix belongs to. Default: None.
        threads (int, optional): Threads to use; None for all CPUs.
            Default: None.

    Raises:
        InputError: If the model cannot be found or used, or is for another
            task.
        ValueError: If ``backend`` or ``threads`` is no such value.
    """
    if backend is not None and backend not in ENGINES:
        raise ValueError(f'backend must be one of {", ".join(ENGINES)}, got {backend!r}')
    if threads is not None and threads < 1:
        raise ValueError(f'threads must be positive, got {threads!r}')
    path = find_exported_model(model)
    if path.suffix not in SUFFIXES:
        raise InputError(f'model {path} has no suffix of {", ".join(SUFFIXES)}')
    backend = backend or SUFFIXES[path.suffix]
    if backend == 'onnxruntime' and path.suffix != '.onnx':
        raise InputError(
            f'model {path} is for openvino, and the backend is '
            'onnxruntime: export it with --format onnx'
        )
    engine = ENGINES[backend](path, threads or cpu_count())
    if engine.meta.task != task:
        raise InputError(f'model {path} is for {engine.meta.task}, and one for {task} is needed')
    return engine

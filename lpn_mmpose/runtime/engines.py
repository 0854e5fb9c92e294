"""Inference engines behind one call: images in, arrays out."""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np

from ..errors import InputError
from . import model_meta

#: Where models are looked for by name.
WEIGHTS_DIR = Path(__file__).resolve().parents[1] / 'weights'
#: Pixels of a batch that are taken for a model's.
MAX_PIXELS = 2**28
#: Short names of the models there, as the model index has them.
ALIASES = {'lpn50-lsp': 'lpn50_lspet-128x128', 'lpn50-body': 'lpn50_body19-192x144'}
#: What a model's file may end with, and the engine that it is for.
SUFFIXES = {'.onnx': 'onnxruntime', '.xml': 'openvino'}


def find_exported_model(model: str | Path, folder: Path = WEIGHTS_DIR) -> Path:
    """Find the file of an exported model.

    Args:
        model (str | Path): Its path, the name of a file in ``folder`` with
            or without suffix, or one of ``ALIASES``.
        folder (Path): Default: the package's ``weights``.

    Raises:
        InputError: If there is no such file.
    """
    path = Path(model)
    candidates = [path, folder / path]
    stem = ALIASES.get(str(model).lower(), model)
    candidates += [folder / f'{stem}{suffix}' for suffix in SUFFIXES]
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


class Tensor(NamedTuple):
    """An input or output of a model.

    Args:
        name (str): Its name.
        dtype (str): NumPy's name of its type.
        shape (tuple[int | None]): Its size in each dimension; None where any is possible.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """Describe it as in ``images float32 (?, 3, 416, 416)``."""
        return f'{self.name} {self.dtype} ({", ".join(str(n or "?") for n in self.shape)})'


#: Takes the inputs and outputs of a model without metadata.
Describe = Callable[[list[Tensor], list[Tensor]], model_meta.ModelMeta]


class Engine:
    """A loaded model.

    Several threads may use it at once. Copies, unpickled ones and forked processes load the model
    themselves.

    Args:
        path (Path): Model file.
        threads (int): Threads to use.
        describe (Callable, optional): Gives the metadata of a model that has
            none; None to refuse it. Default: None.

    Attributes:
        meta (ModelMeta): What the model says about itself.
        inputs, outputs (list[Tensor]): What it takes and gives.
        batch (int, optional): Images it takes at once; None for any number.

    Raises:
        InputError: If the engine is not installed, or the file is damaged or
            no export of this package.
    """

    #: Name of the engine's package.
    package: str
    inputs: list[Tensor]
    outputs: list[Tensor]

    def __init__(self, path: Path, threads: int, describe: Describe | None = None) -> None:
        self.path, self.threads, self._describe = path.resolve(), threads, describe
        self._start()
        _ENGINES.add(self)

    def _start(self) -> None:
        self._lock, self._pool = Lock(), None
        path, describe = self.path, self._describe
        try:
            text = self._load()
        except ImportError as error:
            raise InputError(
                f'{self.package} cannot be imported ({error}): pip install {self.package}'
            ) from error
        except Exception as error:  # of each engine's own classes
            raise InputError(f'model {path} cannot be loaded by {self.package}: {error}') from error
        self.batch = self.inputs[0].shape[0] if self.inputs[0].shape else None
        if text is None and describe is not None:
            self.meta = describe(self.inputs, self.outputs)
            self._input_name = self.inputs[0].name
            self._output_names = [output.name for output in self.outputs]
            self._loaded = True
            return
        if text is None:
            raise InputError(
                f'model {path} lacks the metadata {model_meta.KEY!r}: export '
                'it with tools/deployment/export.py'
            )
        try:
            self.meta = model_meta.ModelMeta.from_json(text)
        except ValueError as error:
            raise InputError(f'model {path}: {error}') from error
        self._input_name = model_meta.INPUT_NAME
        self._output_names = model_meta.OUTPUT_NAMES[self.meta.outputs]
        self._check_graph()
        self._loaded = True

    def __reduce__(self):
        """Let copies and unpickled ones load the model themselves."""
        return type(self), (self.path, self.threads, self._describe)

    def _check_graph(self) -> None:
        """Check that the graph is the one that the metadata describe.

        Raises:
            InputError: If it is not.
        """
        name, _, shape = self.inputs[0]
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
        """Check the shapes of what an export of this package gave for ``count`` images."""
        meta = self.meta
        if meta.outputs not in model_meta.OUTPUT_NAMES:
            return
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

        Sets ``inputs``, ``outputs`` and ``_outputs``, all names of the outputs.
        """
        raise NotImplementedError

    def _infer(self, images: np.ndarray) -> list[np.ndarray]:
        """Run a batch, all threads on one layer after the other."""
        raise NotImplementedError

    def _load_single(self) -> None:
        """Prepare what :meth:`_infer_single` needs."""
        raise NotImplementedError

    def _infer_single(self, images: np.ndarray) -> list[np.ndarray]:
        """Run a batch with one thread, while others may do the same."""
        raise NotImplementedError

    def _infer_apart(self, parts: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Run batches side by side, one thread each."""
        return list(self._threads().map(self._infer_single, parts))

    def _threads(self) -> ThreadPoolExecutor:
        """Return the threads that use the model side by side."""
        if not self._loaded:
            self._start()
        if self._pool is None:
            with self._lock:
                if self._pool is None:
                    with self._errors():
                        self._load_single()
                    self._pool = ThreadPoolExecutor(self.threads)
        return self._pool

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        """Call a function in one of the threads, where it may use :meth:`run_single`.

        So the threads need not wait for each other at the end of a batch.
        """
        return self._threads().submit(function, *args)

    def side_by_side(self, count: int) -> bool:
        """Tell whether ``count`` images, one a thread, keep more than half of the threads busy."""
        return (self.batch or 1) == 1 and count > self.threads / 2

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Run the model.

        Threads that share a layer wait for each other at its end, hence each
        takes images of its own as long as there are enough.

        Args:
            images (np.ndarray): uint8 in shape (N, h, w, 3); what ``inputs`` says
                if the model is no export of this package.

        Returns:
            list[np.ndarray]: The model's outputs, N rows each, in the order
            of :data:`lpn_mmpose.runtime.model_meta.OUTPUT_NAMES`, or of
            ``outputs``.

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
        with self._errors():
            results = self._infer_apart(parts[:apart]) if apart else []
            if parts[apart:] and self.batch is None:
                results.append(self._infer(images[apart:]))
            else:
                results += map(self._infer, parts[apart:])
        arrays = results[0]
        if len(results) > 1:
            arrays = [np.concatenate(parts) for parts in zip(*results)]
        arrays = [array[: len(images)] for array in arrays]
        self._check_outputs(arrays, len(images))
        return arrays

    def run_single(self, images: np.ndarray) -> list[np.ndarray]:
        """Run the model with one thread, in a function given to :meth:`submit`.

        Args:
            images (np.ndarray): As of a call, not more than the model takes at once.

        Returns:
            list[np.ndarray]: As of a call.

        Raises:
            InputError: As of a call.
        """
        with self._errors():
            arrays = self._infer_single(self._filled(images))
        arrays = [array[: len(images)] for array in arrays]
        self._check_outputs(arrays, len(images))
        return arrays

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what the engine raises as an InputError."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # of each engine's own classes
            raise InputError(
                f'model {self.path} cannot be run by {self.package}: {error}'
            ) from error

    def _filled(self, images: np.ndarray) -> np.ndarray:
        """Fill a batch up to the size that the model takes."""
        missing = (self.batch or len(images)) - len(images)
        if not missing:
            return images
        return np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)])


#: Fields of ONNX's messages that lead to tensors, and ``external_data`` of a tensor (onnx.proto).
_TO_TENSORS = {
    'model': {7: 'graph', 25: 'function'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'function': {7: 'node', 11: 'attribute'},
    'node': {5: 'attribute'},
    'attribute': {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse'},
    'sparse': {1: 'tensor', 2: 'tensor'},
    'tensor': {13: 'entry'},
    'entry': {2: 'value'},
}


def _external_data(content: memoryview, kind: str = 'model') -> Iterator[str]:
    """Yield all values of the ``external_data`` in an ONNX file: places, offsets and lengths."""
    if kind == 'value':
        yield bytes(content).decode(errors='replace')
        return
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = content[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(content):
        field, wire = divmod(varint() & 0xFFFFFFFF, 8)  # as protobuf reads it
        if wire == 2:
            size = varint()
            inner = _TO_TENSORS[kind].get(field)
            if inner:
                yield from _external_data(content[place : place + size], inner)
            place += size
        elif wire == 0:
            varint()
        else:
            place += {1: 8, 5: 4}[wire]


def check_external_data(path: Path) -> None:
    """Refuse a model that reads weights from outside of its folder.

    ONNX Runtime does so itself, but not as 1.23, the last for Python 3.10.

    Raises:
        ValueError: If it does, or cannot be looked through.
    """
    folder = path.resolve().parent
    try:
        values = set(_external_data(memoryview(path.read_bytes())))
    except (IndexError, KeyError, RecursionError):
        raise ValueError('it is damaged, or no ONNX file') from None
    for value in values:
        if not (folder / value).resolve().is_relative_to(folder):
            raise ValueError(f'its weights are at {value!r}, outside of its folder')


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
        check_external_data(self.path)
        self._session = onnxruntime_session(str(self.path), self.threads)
        self.inputs = list(map(self._tensor, self._session.get_inputs()))
        self.outputs = list(map(self._tensor, self._session.get_outputs()))
        self._outputs = [output.name for output in self.outputs]
        properties = self._session.get_modelmeta().custom_metadata_map
        return properties.get(model_meta.KEY)

    @staticmethod
    def _tensor(value) -> Tensor:
        dtype = value.type.removeprefix('tensor(').removesuffix(')')
        dtype = {'float': 'float32', 'double': 'float64'}.get(dtype, dtype)
        return Tensor(
            value.name, dtype, tuple(n if isinstance(n, int) else None for n in value.shape)
        )

    def _run(self, session, images: np.ndarray) -> list[np.ndarray]:
        return session.run(self._output_names, {self._input_name: images})

    def _infer(self, images: np.ndarray) -> list[np.ndarray]:
        return self._run(self._session, images)

    def _load_single(self) -> None:
        self._single = self._session
        if self.threads > 1:
            self._single = onnxruntime_session(str(self.path), 1)

    def _infer_single(self, images: np.ndarray) -> list[np.ndarray]:
        return self._run(self._single, images)


@contextmanager
def _own_signal_stack() -> Iterator[None]:
    """Take back the signal stack that OpenVINO gives to the thread that loads a model.

    Seen in openvino 2026.4.1: the stack is gone with the model, and the next signal, Ctrl-C
    say, then ends the process by a segmentation fault.
    """
    sigaltstack = getattr(ctypes.CDLL(None), 'sigaltstack', None) if os.name == 'posix' else None
    former = ctypes.create_string_buffer(64)  # larger than any system's stack_t
    if sigaltstack is None or sigaltstack(None, former):
        yield
        return
    try:
        yield
    finally:
        sigaltstack(former, None)


class OpenVinoEngine(Engine):
    """`OpenVINO <https://docs.openvino.ai>`_ on CPUs, in the file's precision.

    Reads ``.xml`` and ``.onnx``.
    """

    package = 'openvino'

    @_own_signal_stack()
    def _load(self) -> str | None:
        import openvino

        model = openvino.Core().read_model(self.path)
        self.inputs = list(map(self._tensor, model.inputs))
        self.outputs = list(map(self._tensor, model.outputs))
        self._outputs = [name for output in model.outputs for name in output.get_names()]
        self._model = self._compile(model, streams=1)
        # rt_info of an .xml; an .onnx file's properties are under 'framework'
        for keys in ([model_meta.KEY], ['framework', model_meta.KEY]):
            if model.has_rt_info(keys):
                return model.get_rt_info(keys).astype(str)
        return None

    @staticmethod
    def _tensor(value) -> Tensor:
        shape = value.get_partial_shape()
        sizes = () if shape.rank.is_dynamic else shape
        return Tensor(
            value.any_name,
            value.element_type.to_dtype().name,
            tuple(None if n.is_dynamic else n.get_length() for n in sizes),
        )

    @_own_signal_stack()
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
        return [results[name] for name in self._output_names]

    def _load_single(self) -> None:
        model = self._compile(self.path, streams=self.threads)
        self._requests = SimpleQueue()
        for _ in range(self.threads):
            self._requests.put(model.create_infer_request())

    def _infer_single(self, images: np.ndarray) -> list[np.ndarray]:
        request = self._requests.get()
        try:
            request.infer({self._input_name: images}, share_inputs=True)
            return [request.get_tensor(name).data.copy() for name in self._output_names]
        finally:
            self._requests.put(request)


ENGINES = {cls.package: cls for cls in (OnnxRuntimeEngine, OpenVinoEngine)}


def load_engine(
    model: str | Path,
    task: str,
    backend: str | None = None,
    threads: int | None = None,
    describe: Describe | None = None,
) -> Engine:
    """Load an exported model.

    Args:
        model (str | Path): See :func:`find_exported_model`.
        task (str): What it must be for, ``'pose'`` or ``'detection'``.
        backend (str, optional): ``'onnxruntime'`` or ``'openvino'``; None for
            the one that the file's suffix belongs to. Default: None.
        threads (int, optional): Threads to use; None for all CPUs.
            Default: None.
        describe (Callable, optional): See :class:`Engine`. Default: None.

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
    engine = ENGINES[backend](path, threads or cpu_count(), describe)
    if engine.meta.task != task:
        raise InputError(f'model {path} is for {engine.meta.task}, and one for {task} is needed')
    return engine

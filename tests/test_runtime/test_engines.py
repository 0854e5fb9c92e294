import subprocess
import sys

import numpy as np
import onnx
import openvino
import pytest
import tiny_models

from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime import PersonDetector, PoseRuntime
from lpn_mmpose.runtime.engines import ENGINES, find_exported_model, load_engine
from lpn_mmpose.runtime.model_meta import KEY


@pytest.fixture
def pose_file(tmp_path):
    return tiny_models.save_pose(tmp_path / 'pose.onnx')


@pytest.fixture
def images():
    rng = np.random.RandomState(0)
    return rng.randint(0, 256, (5, 128, 96, 3)).astype(np.uint8)


def xml_of(path):
    """Convert to OpenVINO's format, the metadata in rt_info."""
    model = openvino.Core().read_model(path)
    text = onnx.load(path).metadata_props[0].value
    model.set_rt_info(text, [KEY])
    openvino.save_model(model, path.with_suffix('.xml'), compress_to_fp16=False)
    return path.with_suffix('.xml')


def test_engines_and_formats_agree(pose_file, images):
    (reference,) = load_engine(pose_file, 'pose')(images)
    assert reference.shape == (5, 6, 32, 24)
    for path in (pose_file, xml_of(pose_file)):
        engine = load_engine(path, 'pose', 'openvino', threads=1)
        assert engine.meta == tiny_models.pose_meta()
        np.testing.assert_allclose(engine(images)[0], reference, atol=1e-5)
    assert load_engine(pose_file.with_suffix('.xml'), 'pose').package == 'openvino'


@pytest.mark.parametrize('backend', list(ENGINES))
@pytest.mark.parametrize('count', [1, 2, 5])
def test_fixed_batch(pose_file, images, backend, count):
    (reference,) = load_engine(pose_file, 'pose')(images[:count])
    fixed = tiny_models.save_pose(pose_file.with_name('two.onnx'), batch=2)
    engine = load_engine(fixed, 'pose', backend)
    assert engine.batch == 2
    (actual,) = engine(images[:count])
    np.testing.assert_allclose(actual, reference, atol=1e-5)


@pytest.mark.parametrize('backend', list(ENGINES))
@pytest.mark.parametrize('batch', ['N', 1, 2])
@pytest.mark.parametrize('threads', [1, 2, 3])
def test_images_side_by_side(pose_file, images, backend, batch, threads):
    (reference,) = load_engine(pose_file, 'pose', threads=1)(images)
    path = tiny_models.save_pose(pose_file.with_name('b.onnx'), batch=batch)
    engine = load_engine(path, 'pose', backend, threads)
    together, apart = [], []
    engine._infer, engine._infer_apart = (
        recorded(engine._infer, together, lambda part: [part]),
        recorded(engine._infer_apart, apart, list),
    )
    for count in range(1, 6):
        (actual,) = engine(images[:count])
        np.testing.assert_allclose(actual, reference[:count], atol=1e-5)
    size = 1 if batch == 'N' else batch
    sizes = {len(part) for parts in apart for part in parts}
    assert sizes == (set() if threads == 1 else {size})
    # a thread that has nothing to do waits for at most as many others
    assert all(len(parts) % threads in (0, threads - 1) for parts in apart)
    assert together


def recorded(call, calls, parts_of):
    """Let a method note the batches that it is given."""

    def wrapped(argument):
        calls.append(parts_of(argument))
        return call(argument)

    return wrapped


def test_find_model(pose_file, tmp_path):
    assert find_exported_model(str(pose_file)) == pose_file
    for name in ('pose', 'pose.onnx'):
        assert find_exported_model(name, tmp_path) == pose_file
    with pytest.raises(InputError, match='model other is neither') as error:
        find_exported_model('other', tmp_path)
    for text in ('pose.onnx', 'export.py', str(tmp_path)):
        assert text in str(error.value)


def test_unusable_models(pose_file, tmp_path):
    (tmp_path / 'broken.onnx').write_bytes(b'no model')
    (tmp_path / 'pose.pth').write_bytes(b'weights')
    model = onnx.load(pose_file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'foreign.onnx')
    xml_of(pose_file)
    detector = tiny_models.save_detector(tmp_path / 'detector.onnx')
    for name, backend, text in [
        ('broken.onnx', None, 'broken.onnx cannot be loaded by onnxruntime'),
        ('broken.onnx', 'openvino', 'broken.onnx cannot be loaded by openvi'),
        ('foreign.onnx', None, 'foreign.onnx lacks the metadata'),
        ('foreign.onnx', 'openvino', 'foreign.onnx lacks the metadata'),
        ('pose.pth', None, 'pose.pth has no suffix of .onnx, .xml'),
        ('pose.xml', 'onnxruntime', 'pose.xml is for openvino'),
        ('detector.onnx', None, 'is for detection, and one for pose'),
    ]:
        with pytest.raises(InputError, match=text):
            PoseRuntime(tmp_path / name, backend)
    with pytest.raises(InputError, match='is for pose, and one for detection'):
        PersonDetector(pose_file)
    assert PersonDetector(detector).meta.dataset == 'squares'


def test_metadata_of_a_later_format(pose_file):
    model = onnx.load(pose_file)
    prop = model.metadata_props[0]
    prop.value = prop.value.replace('"format": 1', '"format": 99')
    onnx.save(model, pose_file)
    with pytest.raises(InputError, match='pose.onnx: metadata of format 99'):
        PoseRuntime(pose_file)


@pytest.mark.parametrize('backend', list(ENGINES))
def test_missing_engine(pose_file, monkeypatch, backend):
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(InputError, match=f'pip install {backend}'):
        PoseRuntime(pose_file, backend)


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(backend='tensorrt'),
        dict(threads=0),
        dict(max_batch=0),
    ],
)
def test_bad_arguments(pose_file, kwargs):
    ((name, value),) = kwargs.items()
    with pytest.raises(ValueError, match=f'{name} must be .*{value!r}'):
        PoseRuntime(pose_file, **kwargs)


@pytest.mark.parametrize('backend', ENGINES)
def test_a_signal_after_a_model_is_gone(pose_file, backend):
    code = (
        'import gc, os, signal, sys\n'
        'import numpy as np\n'
        'from lpn_mmpose.runtime import PoseRuntime\n'
        'pose = PoseRuntime(*sys.argv[1:])\n'
        'pose(np.zeros((64, 64, 3), np.uint8))\n'
        'del pose\n'
        'gc.collect()\n'
        'ballast = [bytearray(10_000) for _ in range(10_000)]\n'
        'signal.signal(signal.SIGINT, lambda *_: print("handled"))\n'
        'os.kill(os.getpid(), signal.SIGINT)\n'
    )
    command = [sys.executable, '-c', code, str(pose_file), backend]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout == 'handled\n' and run.returncode == 0, run.stderr

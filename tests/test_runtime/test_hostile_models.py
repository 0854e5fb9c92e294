"""Exported models of strangers: refused in one line, whatever they say."""

import json

import numpy as np
import onnx
import pytest
import tiny_models
from onnx import TensorProto

from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime.engines import ENGINES, check_external_data, load_engine
from lpn_mmpose.runtime.model_meta import KEY, ModelMeta


@pytest.fixture
def model(tmp_path):
    return onnx.load(tiny_models.save_pose(tmp_path / 'pose.onnx'))


def metadata(**changes):
    return json.dumps({**json.loads(tiny_models.pose_meta().to_json()), **changes})


def load(model, path, backend, text=None):
    if text is not None:
        model.metadata_props[0].value = text
    path.write_bytes(model.SerializeToString())
    return load_engine(path, 'pose', backend)


TEXTS = [
    metadata(input_size=[10**9, 10**9]),
    metadata(input_size=[96.5, 128]),
    metadata(input_size='96'),
    metadata(input_size=None),
    metadata(input_size=[True, 128]),
    metadata(heatmap_size=[24, -32]),
    metadata(mean=[float('nan')] * 3),
    metadata(std=[0, 1, 1]),
    metadata(std=['1', '1', '1']),
    metadata(beta=float('inf')),
    metadata(beta=-1),
    metadata(sigma=0),
    metadata(codec='os.system'),
    metadata(outputs=['heatmaps']),
    metadata(outputs='boxes'),
    metadata(flip_indices=[1, 0, 3, 2, 5, 10**6]),
    metadata(flip_indices=[1, 2, 0, 3, 4, 5]),
    metadata(keypoint_names=[]),
    metadata(keypoint_names=[['a']] * 6),
    metadata(keypoint_names='abcdef'),
    metadata(sigmas=[0.1]),
    metadata(skeleton=[[0, 6]]),
    metadata(skeleton=[[0]]),
    metadata(keypoint_colors=[[0, 0, 256]] * 6),
    metadata(channel_order='gbr'),
    metadata(bbox_padding=1e300),
    metadata(name={}),
    metadata(format='1'),
    metadata(format=float('nan')),
    metadata(format=10**400),
    metadata(task='pose', mean=10**400),
    '[]',
    'null',
    '"text"',
    '{"format": 1, "task": "pose"}',
    '[' * 100_000,
    '{"a":' * 100_000,
    ' ' * 2**21 + metadata(),
]


@pytest.mark.parametrize('text', TEXTS, ids=range(len(TEXTS)))
def test_metadata(text):
    with pytest.raises(ValueError, match='metadata'):
        ModelMeta.from_json(text)


def test_metadata_that_are_right():
    meta = tiny_models.pose_meta()
    assert ModelMeta.from_json(meta.to_json()) == meta
    assert ModelMeta.from_json(metadata(unknown=[1])) == meta


@pytest.mark.parametrize('backend', list(ENGINES))
@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(input_size=(97, 128)), 'its metadata say 97x128'),
        (dict(outputs='keypoints'), 'has no output'),
        (dict(heatmap_size=(25, 32)), None),
        (dict(keypoint_names=tiny_models.NAMES[:2], flip_indices=(0, 1), skeleton=()), None),
    ],
)
def test_metadata_of_another_graph(changes, message, model, tmp_path, backend):
    text = tiny_models.pose_meta(**changes).to_json()
    if message is not None:
        with pytest.raises(InputError, match=message):
            load(model, tmp_path / 'a.onnx', backend, text)
        return
    engine = load(model, tmp_path / 'a.onnx', backend, text)
    with pytest.raises(InputError, match='gives arrays of shapes'):
        engine(np.zeros((1, 128, 96, 3), np.uint8))


@pytest.mark.parametrize('backend', list(ENGINES))
@pytest.mark.parametrize('kind', ['parent', 'absolute', 'link'])
def test_weights_outside_of_the_folder(kind, model, tmp_path, backend):
    """They would bring a private file into what the model puts out."""
    secret = tmp_path / 'secret.bin'
    secret.write_bytes(np.arange(18, dtype=np.float32).tobytes())
    folder = tmp_path / 'model'
    folder.mkdir()
    (folder / 'link.bin').symlink_to(secret)
    place = dict(parent='../secret.bin', absolute=str(secret), link='link.bin')[kind]
    tensor = model.graph.initializer[0]
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in dict(location=place, offset='0', length='72').items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    with pytest.raises(InputError, match='cannot be loaded'):
        load(model, folder / 'a.onnx', backend)


@pytest.mark.parametrize(
    'disguise',
    [
        lambda graph: b'\xeb\x07\xec\x07' + b'\x3a' + graph,  # behind a group of an unknown field
        lambda graph: b'\xba\x80\x80\x80\x10' + graph,  # a tag of more than 32 bits
    ],
    ids=['group', 'long tag'],
)
def test_disguised_weights_outside_of_the_folder(disguise, model, tmp_path):
    """Older releases of ONNX Runtime do not look themselves."""
    (tmp_path / 'secret.bin').write_bytes(bytes(72))
    folder = tmp_path / 'model'
    folder.mkdir()
    tensor = model.graph.initializer[0]
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in dict(location='../secret.bin', offset='0', length='72').items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    graph = model.graph.SerializeToString()
    size, length = len(graph), b''
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    graph = length + bytes([size]) + graph
    model.ClearField('graph')
    path = folder / 'a.onnx'
    path.write_bytes(model.SerializeToString() + disguise(graph))
    with pytest.raises(ValueError, match='outside|damaged'):
        check_external_data(path)


@pytest.mark.parametrize('backend', list(ENGINES))
def test_batch_and_tensor_of_huge_size(model, tmp_path, backend):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**40
    with pytest.raises(InputError):
        load(model, tmp_path / 'a.onnx', backend)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = 'N'
    model.graph.initializer[0].dims[0] = 2**40
    with pytest.raises(InputError, match='cannot be loaded'):
        load(model, tmp_path / 'b.onnx', backend)


@pytest.mark.parametrize('backend', list(ENGINES))
def test_graph_that_fails(model, tmp_path, backend, capsys):
    """It takes any number of images, it says, and can do with one alone."""
    model.graph.node[-1].output[0] = 'raw'
    model.graph.initializer.append(tiny_models.constant('one', np.array([1, 6, 32, 24])))
    model.graph.node.append(onnx.helper.make_node('Reshape', ['raw', 'one'], ['heatmaps']))
    engine = load(model, tmp_path / 'a.onnx', backend)
    assert engine(np.zeros((1, 128, 96, 3), np.uint8))[0].shape == (1, 6, 32, 24)
    engine.threads = 1
    with pytest.raises(InputError, match='a.onnx cannot be run by'):
        engine(np.zeros((2, 128, 96, 3), np.uint8))
    assert not capsys.readouterr().out


@pytest.mark.parametrize('backend', list(ENGINES))
def test_no_metadata(model, tmp_path, backend):
    del model.metadata_props[:]
    with pytest.raises(InputError, match=f'lacks the metadata {KEY!r}'):
        load(model, tmp_path / 'a.onnx', backend)

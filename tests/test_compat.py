"""Each patch of :mod:`lpn_mmpose.compat`, and that whole upstreams are kept."""

import copy
import functools
import http.server
import importlib
import importlib.util
import logging
import os
import pickle
import pkgutil
import subprocess
import sys
import threading
import types
import zipfile
from pathlib import Path

import mmcv.ops
import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

import lpn_mmpose
from lpn_mmpose import compat
from lpn_mmpose.utils.import_hooks import when_imported
from lpn_mmpose.zoo import model_index

ROOT = Path(lpn_mmpose.__file__).parent.parent


def run_python(code, *path):
    """Run code in a fresh interpreter; its standard output, stripped."""
    path = os.pathsep.join(map(str, (*path, ROOT)))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- putting the patches in place ----------------------------------------------


def test_import_is_light():
    heavy = run_python(
        'import sys, lpn_mmpose\n'
        "print(*{'torch', 'numpy', 'mmpose', 'mmdet', 'mmcv', 'mmengine'} & set(sys.modules))"
    )
    assert heavy == ''


def test_imported_last_it_patches_as_well():
    out = run_python(
        'import sys; sys.modules["pkg_resources"] = None\n'
        'import torch, mmengine.hub, mmengine.infer, mmengine.runner, mmcv.cnn\n'
        'import lpn_mmpose\n'
        'import mmcv.ops\n'
        'from mmengine.config import Config\n'
        'from mmengine.hub import get_config\n'
        'import mmengine.runner.checkpoint as checkpoint\n'
        'from mmengine.logging import HistoryBuffer\n'
        'print(len(get_config("mmpose::_base_/default_runtime.py")) > 0)\n'
        'print(HistoryBuffer in torch.serialization.get_safe_globals())\n'
        'print("weights_only" in checkpoint.load_url.keywords)\n'
        'print(Config._get_cfg_path.__module__)\n'
    )
    assert out.splitlines()[-4:] == ['True', 'True', 'True', 'lpn_mmpose.zoo.model_index']


def test_when_imported(tmp_path, monkeypatch):
    (tmp_path / 'late_module.py').write_text('value = 1')
    (tmp_path / 'user_module.py').write_text('from late_module import value')
    monkeypatch.syspath_prepend(tmp_path)
    calls = []

    def hook(module):
        calls.append(module.__name__)
        module.value += 1

    when_imported('late_module', hook)
    assert calls == []
    user = importlib.import_module('user_module')
    assert calls == ['late_module'] and user.value == 2
    when_imported('late_module', hook)  # is registered already
    assert calls == ['late_module']
    late = sys.modules['late_module']
    assert importlib.reload(late).value == 2
    when_imported('user_module', hook)  # is imported already
    assert user.value == 3
    assert 'exec_module' not in vars(late.__spec__.loader)
    for name in ('late_module', 'user_module'):
        monkeypatch.delitem(sys.modules, name)


def test_install_twice_changes_nothing():
    from mmengine.runner import checkpoint

    before = (
        list(sys.meta_path),
        checkpoint.load_url,
        checkpoint.CheckpointLoader.load_checkpoint,
        sys.modules['mmcv'],
    )
    compat.install()
    model_index.install()
    assert before == (
        list(sys.meta_path),
        checkpoint.load_url,
        checkpoint.CheckpointLoader.load_checkpoint,
        sys.modules['mmcv'],
    )


# -- mmcv._ext ---------------------------------------------------------------

LITE = sys.modules['mmcv._ext'].__spec__.loader is None
lite_only = pytest.mark.skipif(not LITE, reason='full mmcv is installed, nothing is patched')


def make_boxes(n=300, seed=0):
    rng = np.random.default_rng(seed)
    xy, wh = rng.uniform(0, 60, (n, 2)), rng.uniform(1, 25, (n, 2))
    boxes = np.concatenate([xy, xy + wh], axis=1).astype(np.float32)
    scores = rng.permutation(n).astype(np.float32) / n
    labels = rng.integers(0, 3, n)
    return map(torch.from_numpy, (boxes, scores, labels))


def greedy_nms(boxes, scores, iou_threshold, offset):
    """NMS from its definition, one box after the other."""
    boxes, kept = boxes.double(), []
    sizes = (boxes[:, 2:] - boxes[:, :2] + offset).prod(1)
    for i in scores.argsort(descending=True).tolist():
        top_left = torch.maximum(boxes[i, :2], boxes[kept, :2])
        bottom_right = torch.minimum(boxes[i, 2:], boxes[kept, 2:])
        overlap = (bottom_right - top_left + offset).clamp(min=0).prod(1)
        union = sizes[i] + sizes[kept] - overlap
        if not (overlap > iou_threshold * union).any():
            kept.append(i)
    return kept


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('iou_threshold', [0.3, 0.65])
def test_nms(offset, iou_threshold):
    boxes, scores, _ = make_boxes()
    dets, keep = mmcv.ops.nms(boxes, scores, iou_threshold, offset=offset)
    assert keep.tolist() == greedy_nms(boxes, scores, iou_threshold, offset)
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[keep])
    if offset == 0:
        direct = torchvision.ops.nms(boxes, scores, iou_threshold)
        assert torch.equal(keep, direct)
    else:  # the offset matters on these boxes
        assert keep.tolist() != greedy_nms(boxes, scores, iou_threshold, 0)


def test_nms_options():
    boxes, scores, _ = make_boxes()
    above = (scores > 0.4).nonzero()[:, 0]
    direct = above[torchvision.ops.nms(boxes[above], scores[above], 0.5)]
    dets, keep = mmcv.ops.nms(boxes.numpy(), scores.numpy(), 0.5, score_threshold=0.4, max_num=7)
    assert isinstance(dets, np.ndarray) and dets.shape == (7, 5)
    assert keep.tolist() == direct[:7].tolist()
    dets, keep = mmcv.ops.nms(boxes[:0], scores[:0], 0.5)
    assert dets.shape == (0, 5) and keep.shape == (0,)


@pytest.mark.parametrize('split_thr', [10000, 10])
def test_batched_nms(split_thr):
    boxes, scores, labels = make_boxes()
    cfg = dict(type='nms', iou_threshold=0.5, split_thr=split_thr)
    dets, keep = mmcv.ops.batched_nms(boxes, scores, labels, cfg)
    direct = torchvision.ops.batched_nms(boxes, scores, labels, 0.5)
    assert torch.equal(keep, direct)
    assert torch.equal(dets[:, 4], scores[direct])
    dets, keep = mmcv.ops.batched_nms(boxes, scores, labels, dict(cfg, max_num=5))
    assert torch.equal(keep, direct[:5])
    if split_thr > len(boxes):
        _, keep = mmcv.ops.batched_nms(boxes, scores, labels, cfg, class_agnostic=True)
        assert torch.equal(keep, torchvision.ops.nms(boxes, scores, 0.5))


@lite_only
def test_missing_op_names_itself():
    rois = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
    with pytest.raises(compat.MissingOpError, match="'roi_align_forward'.*install full mmcv"):
        mmcv.ops.roi_align(torch.rand(1, 1, 8, 8), rois, (2, 2))
    with pytest.raises(NotImplementedError, match="'softnms'"):
        boxes, scores, _ = make_boxes(5)
        mmcv.ops.soft_nms(boxes, scores)


@lite_only
def test_placeholder_does_not_pass_for_compiled_ops():
    from mmcv.utils.ext_loader import check_ops_exist
    from mmengine.utils.dl_utils import mmcv_full_available

    assert not check_ops_exist()
    assert not mmcv_full_available()


def test_compiled_ops_are_left_alone(tmp_path, monkeypatch):
    package = tmp_path / 'full_mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / '_ext.py').write_text('nms = "compiled"')
    monkeypatch.syspath_prepend(tmp_path)
    compat.missing_compiled_ops(importlib.import_module('full_mmcv'))
    assert 'full_mmcv._ext' not in sys.modules
    assert importlib.import_module('full_mmcv._ext').nms == 'compiled'


# -- checkpoints -------------------------------------------------------------


class ToyModel(nn.Module):
    """The least that MMEngine's Runner trains and tests."""

    def __init__(self):
        from mmengine.model import BaseDataPreprocessor

        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.data_preprocessor = BaseDataPreprocessor()

    def train_step(self, data, optim_wrapper):
        loss = self.linear(torch.stack(data)).sum()
        optim_wrapper.update_params(loss)
        return dict(loss=loss)

    def val_step(self, data):
        return list(self.linear(torch.stack(data)))


class ToyDataset(Dataset):
    """Two values a sample, with NumPy values in metainfo as MMPose has."""

    metainfo = dict(
        sigmas=np.array([0.025, 0.1], dtype=np.float32),
        flip_indices=[1, 0],
        link_colors=np.array([[0, 255, 0]], dtype=np.uint8),
    )

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.ones(2) * index


def build_runner(work_dir, max_epochs, **kwargs):
    from mmengine.evaluator import BaseMetric
    from mmengine.runner import Runner

    class ToyMetric(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results += data_samples

        def compute_metrics(self, results):
            return dict(AP=np.float64(0.5), count=np.int64(len(results)))

    def dataloader(shuffle):
        sampler = dict(type='DefaultSampler', shuffle=shuffle)
        return dict(dataset=ToyDataset(), batch_size=2, sampler=sampler)

    return Runner(
        ToyModel(),
        str(work_dir),
        train_dataloader=dataloader(True),
        val_dataloader=dataloader(False),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        val_cfg=dict(),
        val_evaluator=[ToyMetric()],
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-3)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2),
            dict(type='MultiStepLR', milestones=[1]),
            dict(type='CosineAnnealingLR', T_max=4),
            dict(type='ReduceOnPlateauLR', monitor='AP', rule='greater'),
            dict(type='OneCycleLR', eta_max=0.1, total_steps=100),
        ],
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best='AP', rule='greater')),
        default_scope='mmengine',
        experiment_name=f'{work_dir.name}_{max_epochs}',
        **kwargs,
    )


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    """The folder that one epoch of training has left."""
    work_dir = tmp_path_factory.mktemp('toy')
    build_runner(work_dir, max_epochs=1).train()
    return work_dir


def test_checkpoints_need_the_patch(work_dir):
    """Without the allow-list they are refused, by torch >= 2.6."""
    out = run_python(f"""
import pickle, mmengine.runner.checkpoint as checkpoint
for name in ('epoch_1.pth', 'best_AP_epoch_1.pth'):
    try:
        checkpoint.load_from_local({str(work_dir)!r} + '/' + name, 'cpu')
        print('loaded')
    except pickle.UnpicklingError:
        print('refused')""")
    refuses = torch.__version__ >= (2, 6)
    assert out.split() == 2 * ['refused' if refuses else 'loaded']


def test_resume(work_dir):
    runner = build_runner(work_dir, max_epochs=2, resume=True)
    runner.train()
    assert runner.epoch == 2
    assert runner.message_hub.get_info('best_score') == 0.5
    lr = runner.message_hub.get_scalar('train/lr')
    assert len(lr.data[0]) == 4  # two iterations of each epoch
    assert (work_dir / 'epoch_2.pth').is_file()


def test_load_checkpoint_values(work_dir):
    from mmengine.runner import load_checkpoint

    model = ToyModel()
    loaded = load_checkpoint(model, str(work_dir / 'epoch_1.pth'))
    assert {'optimizer', 'param_schedulers', 'message_hub', 'ema_state_dict'} <= set(loaded)
    assert torch.equal(model.linear.weight, loaded['state_dict']['linear.weight'])
    meta = loaded['meta']['dataset_meta']
    for key, value in ToyDataset.metainfo.items():
        np.testing.assert_array_equal(meta[key], value)
        assert type(meta[key]) is type(value)
    best = loaded['message_hub']['runtime_info']['best_score']
    assert isinstance(best, np.float64)
    history = loaded['message_hub']['log_scalars']['train/lr']
    assert history.statistics('mean') == pytest.approx(history.mean())


@pytest.mark.parametrize('package', ['numpy.core', 'numpy._core'])
def test_numpy_of_either_generation(tmp_path, package):
    """Arrays and scalars load, whichever NumPy they were pickled by."""
    from mmengine.runner.checkpoint import CheckpointLoader

    values = {
        name: np.ones(2, name)
        for name in ('bool', 'uint8', 'int32', 'int64', 'float16', 'float32', 'float64')
    }
    values.update(scalar=np.float32(0.25), index=np.int64(3))
    torch.save(values, tmp_path / 'saved.pth')
    renamed = tmp_path / 'renamed.pth'
    with zipfile.ZipFile(tmp_path / 'saved.pth') as old, zipfile.ZipFile(renamed, 'w') as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith('data.pkl'):
                for known in (b'numpy._core', b'numpy.core'):
                    data = data.replace(known, b'NUMPY')
                assert b'NUMPY.multiarray' in data
                data = data.replace(b'NUMPY', package.encode())
            new.writestr(name, data)
    loaded = CheckpointLoader.load_checkpoint(str(renamed), 'cpu')
    for name, value in values.items():
        np.testing.assert_array_equal(loaded[name], value)
        assert loaded[name].dtype == value.dtype


class Stranger:
    """A class that no checkpoint of MMEngine holds."""


@pytest.mark.parametrize(
    'stranger, name',
    [
        (Stranger(), r'test_compat\.Stranger'),
        (os.getcwd, r'(posix|nt)\.getcwd'),
        (functools.partial(print), r'functools\.partial'),
        (np.ndarray.tofile, r'getattr'),
        (np.load, r'numpy\.(lib\.npyio\.)?load'),
    ],
)
def test_other_globals_are_refused(tmp_path, stranger, name):
    from mmengine.runner import load_checkpoint

    path = tmp_path / 'strange.pth'
    state_dict = ToyModel().state_dict()
    torch.save(dict(state_dict=state_dict, meta=stranger), path)
    with pytest.raises(
        pickle.UnpicklingError,
        match=rf'strange\.pth is refused.*{name}.*'
        r'state_dict=.*add_safe_globals',
    ):
        load_checkpoint(ToyModel(), str(path))


def test_safe_even_if_torch_is_told_not_to_be(tmp_path, monkeypatch):
    from mmengine.runner.checkpoint import CheckpointLoader

    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.save(Stranger(), tmp_path / 'strange.pth')
    with pytest.raises(pickle.UnpicklingError, match='Stranger'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'strange.pth'))


def test_missing_file_is_named(tmp_path):
    from mmengine.runner.checkpoint import CheckpointLoader

    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'nowhere.pth'))


def test_checkpoints_from_urls(work_dir, tmp_path, monkeypatch):
    from mmengine.runner.checkpoint import CheckpointLoader

    torch.save(Stranger(), work_dir / 'strange.pth')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Handler, directory=work_dir)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}'
    try:
        loaded = CheckpointLoader.load_checkpoint(f'{url}/epoch_1.pth', 'cpu')
        assert 'message_hub' in loaded
        with pytest.raises(pickle.UnpicklingError, match=r'http://.*strange\.pth is refused'):
            CheckpointLoader.load_checkpoint(f'{url}/strange.pth', 'cpu')
    finally:
        server.shutdown()
        server.server_close()


# -- finding packages --------------------------------------------------------


@pytest.fixture
def package_utils(monkeypatch):
    """A fresh copy of MMEngine's module, as it is before any patch."""
    origin = importlib.util.find_spec('mmengine.utils.package_utils').origin
    spec = importlib.util.spec_from_file_location('fresh_utils', origin)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, 'fresh_utils', module)
    return module


def test_packages_without_pkg_resources(package_utils, monkeypatch):
    user = types.ModuleType('user_of_utils')
    user.get_installed_path = package_utils.get_installed_path
    monkeypatch.setitem(sys.modules, 'user_of_utils', user)
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)
    with pytest.raises(ImportError):
        package_utils.get_installed_path('mmpose')
    compat.packages_by_pkg_resources(package_utils)
    assert user.get_installed_path is package_utils.get_installed_path
    for package in ('mmpose', 'mmdet', 'mmengine', 'numpy', 'lpn_mmpose'):
        module = importlib.util.find_spec(package)
        assert package_utils.is_installed(package)
        assert package_utils.get_installed_path(package) == os.path.dirname(module.origin)
    # the distribution's name is not the module's
    assert package_utils.is_installed('PyYAML')
    assert package_utils.get_installed_path('PyYAML').endswith('yaml')
    assert not package_utils.is_installed('no_such_package')
    with pytest.raises(ImportError, match='no_such_package'):
        package_utils.get_installed_path('no_such_package')


def test_namespace_packages_have_no_path(tmp_path, monkeypatch):
    (tmp_path / 'namespace_only').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not compat._is_installed('namespace_only')
    with pytest.raises(RuntimeError, match='namespace_only'):
        compat._get_installed_path('namespace_only')


def test_packages_are_found_in_silence():
    out = run_python(
        'import warnings\n'
        "warnings.simplefilter('error', UserWarning)\n"
        'import lpn_mmpose\n'
        'from mmengine.utils import get_installed_path, is_installed\n'
        "print(is_installed('mmpose'), get_installed_path('mmpose'))"
    )
    assert out.splitlines()[-1].startswith('True /')


def test_other_ways_to_find_packages_stay():
    def is_installed(package):
        return package == 'mine'

    def get_installed_path(package):
        return package

    module = types.SimpleNamespace(is_installed=is_installed, get_installed_path=get_installed_path)
    compat.packages_by_pkg_resources(module)
    assert (module.is_installed, module.get_installed_path) == (is_installed, get_installed_path)


def test_editable_install(tmp_path):
    """PEP 660: metadata in site-packages, sources elsewhere."""
    site, src = tmp_path / 'site', tmp_path / 'src'
    info = site / 'edited-1.0.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: edited\nVersion: 1.0\n')
    (info / 'top_level.txt').write_text('edited\n')
    (src / 'edited').mkdir(parents=True)
    (src / 'edited' / '__init__.py').write_text('')
    out = run_python(
        'import lpn_mmpose\n'
        'from mmengine.utils import get_installed_path, is_installed\n'
        'print(is_installed("edited"), get_installed_path("edited"))',
        site,
        src,
    )
    assert out.splitlines()[-1] == f'True {src / "edited"}'


def test_ops_are_looked_for_without_find_loader(monkeypatch):
    from mmengine.utils.dl_utils import misc, mmcv_full_available

    before = mmcv_full_available()
    monkeypatch.setattr(misc, 'pkgutil', types.ModuleType('pkgutil'))
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    with pytest.raises(AttributeError):
        mmcv_full_available()
    compat.missing_find_loader(misc)
    assert mmcv_full_available() is before
    assert misc.pkgutil.find_loader('mmengine.no_such_module') is None
    assert misc.pkgutil.find_loader('mmengine') is not None


@pytest.mark.skipif(not hasattr(pkgutil, 'find_loader'), reason='removed in Python 3.14')
def test_find_loader_is_used_where_it_is(monkeypatch):
    from mmengine.utils.dl_utils import misc

    monkeypatch.setattr(misc, 'pkgutil', pkgutil)
    compat.missing_find_loader(misc)
    assert misc.pkgutil is pkgutil


# -- drawing -----------------------------------------------------------------


@pytest.mark.parametrize('version, radius', [('1.26.4', np.array([3])), ('2.4.0', 3)])
def test_radius_for_opencv(version, radius, monkeypatch):

    class OpencvBackendVisualizer:
        backend = 'opencv'

        def draw_circles(self, center, radius, alpha=1.0):
            return center, radius, alpha

    monkeypatch.setattr(np, '__version__', version)
    compat.array_as_radius(types.SimpleNamespace(OpencvBackendVisualizer=OpencvBackendVisualizer))
    visualizer = OpencvBackendVisualizer()
    drawn = visualizer.draw_circles((1, 2), radius=np.array([3]), alpha=0.5)
    assert drawn == ((1, 2), radius, 0.5)
    assert type(drawn[1]) is type(radius)
    visualizer.backend = 'matplotlib'
    drawn = visualizer.draw_circles((1, 2), np.array([3]))
    assert isinstance(drawn[1], np.ndarray)


@pytest.mark.parametrize('sigma', [1.125, 1.2, 1.5, 2, (1.5,)])
def test_gaussians_of_any_sigma(sigma):
    """Peaks are at the nearest pixels, also where a border cuts them."""
    from mmpose.codecs.utils import generate_gaussian_heatmaps

    places = np.array([[[x, y] for x in (0, 1, 3.2, 9, 15) for y in (0, 2, 8.4, 14.6, 19)]])
    count = places.shape[1]
    maps, weights = generate_gaussian_heatmaps((16, 20), places, np.ones((1, count)), sigma)
    assert maps.shape == (count, 20, 16) and maps.dtype == np.float32
    row, column = np.divmod(maps.reshape(count, -1).argmax(1), 16)
    np.testing.assert_array_equal(np.stack([column, row], -1), np.rint(places[0]))
    np.testing.assert_allclose(maps.max((1, 2)), 1)
    # those whose Gaussian is outside do not count
    away = np.array([[[-40.0, 5], [5, -40], [60, 5], [-2, 5]]])
    _, weights = generate_gaussian_heatmaps((16, 20), away, np.ones((1, 4)), sigma)
    assert weights.tolist() == [[0, 0, 0, 1]]


def test_bfloat16_in_numpy():
    from mmpose.utils.tensor_utils import to_numpy

    x = torch.tensor([0.5, 3], dtype=torch.bfloat16, requires_grad=True)
    array, device = to_numpy(x, return_device=True)
    np.testing.assert_array_equal(array, np.float32([0.5, 3]))
    assert array.dtype == np.float32 and device.type == 'cpu'
    first, second = to_numpy((x, torch.tensor([1, 2])))
    assert first.dtype == np.float32 and second.dtype == np.int64
    with pytest.raises(TypeError, match='BFloat16'):
        to_numpy.__wrapped__(x)


def test_draw_circles():
    from mmpose.visualization import opencv_backend_visualizer as module

    visualizer = module.OpencvBackendVisualizer(backend='opencv')
    visualizer.set_image(np.zeros((9, 9, 3), dtype=np.uint8))
    visualizer.draw_circles(np.array([4.0, 4.0]), radius=np.array([2]), face_colors=(0, 0, 255))
    drawn = visualizer.get_image().any(axis=-1)
    assert drawn[4, 2:7].all() and not drawn[:, :2].any()


def test_compile_leaves_copying_of_samples_alone():
    """Dynamo ends in an error where a NumPy scalar is copied (torch 2.15)."""

    class Preprocessor(nn.Module):
        def forward(self, data):
            return copy.deepcopy(data)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.data_preprocessor = Preprocessor()

        def train_step(self, x, meta):
            return x * 2, self.data_preprocessor(meta)

    model, meta = Model(), dict(id=np.int64(3))
    runner = types.SimpleNamespace(
        cfg=Config(dict(compile=dict(backend='eager'))),
        model=model,
        logger=logging.getLogger(__name__),
    )
    Runner._maybe_compile(runner, 'train_step')
    doubled, copied = model.train_step(torch.ones(2), meta)
    assert doubled.tolist() == [2.0, 2.0] and copied == meta

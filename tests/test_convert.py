"""Original checkpoints to MMPose's and back, and what they then compute."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import _load_checkpoint
from mmengine.utils import import_modules_from_strings
from mmpose.apis import init_model
from mmpose.registry import MODELS
from originals import PoseHRNet, PoseResNet

from lpn_mmpose.utils.config import load_config
from lpn_mmpose.zoo import original_checkpoints as official
from lpn_mmpose.zoo.published import published_rows
from lpn_mmpose.zoo.publishing import publish
from lpn_mmpose.zoo.weights_conversion import convert, convert_back, published_config

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / 'tests/golden'
REFERENCE = runpy.run_path(str(GOLDEN / 'reference_weights.py'))
CONFIGS = ROOT / 'configs/body_2d_keypoint'
INPUT = torch.from_numpy(REFERENCE['input_for']((1, 3, 64, 64)))
pytestmark = pytest.mark.usefixtures('plain_config_text')


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the tool; return its exit code, output and error."""

    def tool(*args):
        path = ROOT / 'tools/model_converters/official_to_mmpose.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, args)])
        code = 0
        try:
            runpy.run_path(str(path), run_name='__main__')
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return tool


def lpn_weights(name):
    manifest = json.loads((GOLDEN / f'{name}.json').read_text())
    return {key: torch.from_numpy(value) for key, value in REFERENCE['build'](manifest).items()}


@pytest.fixture(scope='module')
def mpii():
    """Original weights of LPN-50 on MPII."""
    return lpn_weights('lpn50_mpii_256x256_gc')


def assert_bit_exact(actual, expected):
    assert list(actual) == list(expected)
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype, key
        assert torch.equal(actual[key], value), key


@pytest.mark.parametrize(
    'name, config',
    [
        ('lpn50_coco_256x192_gc', 'coco/td-hm_lpn50_8xb32-150e_coco-256x192'),
        ('lpn101_coco_256x192_gc', 'coco/td-hm_lpn101_8xb32-150e_coco-256x192'),
        ('lpn50_mpii_256x256_gc', 'mpii/td-hm_lpn50_8xb32-150e_mpii-256x256'),
    ],
)
def test_lpn_there_and_back(name, config, tool, tmp_path):
    """The tool, on files as the original code has them, and MMPose on its result."""
    original = lpn_weights(name)
    src, ours, back = (tmp_path / f'{n}.pth' for n in ('src', 'ours', 'back'))
    torch.save(original, src)
    code, out, _ = tool(src, ours)
    assert code == 0 and out.splitlines()[-1] == str(ours)
    config = CONFIGS / f'lpn/{config}.py'
    assert config.relative_to(CONFIGS).as_posix() in out

    model = init_model(str(config), str(ours), device='cpu')
    golden = np.load(GOLDEN / f'{name}.npz')
    width, height = model.cfg.codec.input_size
    images = torch.from_numpy(REFERENCE['input_for']((1, 3, height, width)))
    with torch.no_grad():
        heatmaps = model(images, None, mode='tensor').numpy()
    np.testing.assert_allclose(
        heatmaps, golden['heatmaps'], rtol=0, atol=1e-4 * golden['heatmaps'].std()
    )

    assert tool(ours, back, '--inverse')[0] == 0
    assert_bit_exact(torch.load(back, weights_only=True), original)


@pytest.mark.parametrize(
    'network',
    [
        PoseResNet(50, 16),
        PoseHRNet(32, 17),
    ],
    ids=['res50-mpii', 'hrnet-w32-coco'],
)
def test_originals_there_and_back(network, tmp_path):
    """Every key of the original is used, and gives what it gave there."""
    expected = network(INPUT)
    src, ours, back = (tmp_path / f'{n}.pth' for n in ('src', 'ours', 'back'))
    torch.save(network.state_dict, src)
    config = convert(str(src), str(ours)).split(' for ')[-1]
    model = init_model(config, str(ours), device='cpu')
    assert model.state_dict().keys() == torch.load(ours, weights_only=True)['state_dict'].keys()
    with torch.no_grad():
        actual = model(INPUT, None, mode='tensor')
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * expected.std().item())

    convert_back(str(ours), str(back))
    assert_bit_exact(torch.load(back, weights_only=True), network.state_dict)


def shapes(cfg):
    """State dict of a config's model, its tensors without memory."""
    import_modules_from_strings(**cfg.custom_imports)
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model).state_dict()


@pytest.mark.parametrize('row', published_rows(), ids=lambda r: r.config)
def test_each_row_is_found_by_its_weights(row):
    """From the shapes alone: keys to the original's, back, and the config."""
    cfg = load_config(row.config_path)
    ours = shapes(cfg)
    family = official.find_family(ours)
    original = official.to_original(ours, family)
    assert len(original) == len(ours)
    assert not any(key.startswith(('backbone', 'head')) for key in original)
    assert official.find_family(original) == family
    back = official.from_original(original, family)
    assert list(back) == list(ours)
    architecture = official.infer_architecture(back, family)
    assert architecture['method'] == row.method
    assert published_config(architecture).filename == cfg.filename


def test_training_checkpoint_in_the_old_format(mpii, tmp_path):
    """As HRNet's code writes them: wrapped, of DataParallel, without BN's
    counters before PyTorch 0.4.1, not zipped."""
    src, ours, back = (tmp_path / f'{n}.pth' for n in ('src', 'ours', 'back'))
    weights = {k: v for k, v in mpii.items() if 'num_batches' not in k}
    torch.save(
        dict(
            epoch=140,
            model='lpn',
            state_dict={f'module.{k}': v for k, v in weights.items()},
            best_state_dict=weights,
            perf=np.float64(88.6),
            optimizer={},
        ),
        src,
        _use_new_zipfile_serialization=False,
    )
    convert(str(src), str(ours))
    convert_back(str(ours), str(back))
    assert_bit_exact(torch.load(back, weights_only=True), weights)


def test_meta(mpii, tmp_path):
    src, ours = tmp_path / 'lpn_50_256x256.pth', tmp_path / 'new/ours.pth'
    torch.save(mpii, src)
    convert(str(src), str(ours))
    meta = _load_checkpoint(str(ours), map_location='cpu')['meta']
    cfg = Config.fromstring(meta['cfg'], '.py')
    assert cfg.model.backbone.type == 'LPN'
    assert meta['converted_from'] == 'lpn_50_256x256.pth'
    dataset = meta['dataset_meta']
    assert dataset['dataset_name'] == 'mpii'
    assert dataset['keypoint_id2name'][0] == 'right_ankle'
    assert [c['name'] for c in dataset['CLASSES']] == ['person']

    published = publish(str(ours), str(tmp_path / 'lpn.pth'), half=False)
    convert_back(str(published), str(tmp_path / 'back.pth'))
    assert_bit_exact(torch.load(tmp_path / 'back.pth', weights_only=True), mpii)


def test_attention_is_found(tmp_path):
    src, ours = tmp_path / 'src.pth', tmp_path / 'ours.pth'
    cfg = load_config(str(CONFIGS / 'lpn/coco/td-hm_lpn50_8xb32-150e_coco-256x192.py'))
    cfg.model.backbone.attention = 'SE'
    weights = {k: torch.zeros(v.shape) for k, v in shapes(cfg).items()}
    torch.save(official.to_original(weights), src)
    assert 'attention SE' in convert(str(src), str(ours))
    meta = _load_checkpoint(str(ours), map_location='cpu')['meta']
    cfg = Config.fromstring(meta['cfg'], '.py')
    assert cfg.model.backbone.attention == 'SE'


def test_config_is_asked_for_and_used(mpii, tool, tmp_path):
    """Fourteen keypoints are nobody's who published an LPN."""
    src, ours = tmp_path / 'src.pth', tmp_path / 'ours.pth'
    weights = dict(mpii)
    for leaf in ('weight', 'bias'):
        weights[f'final_layer.{leaf}'] = mpii[f'final_layer.{leaf}'][:14]
    torch.save(weights, src)
    code, _, error = tool(src, ours)
    assert code == 2 and '14 keypoints' in error and '--config' in error
    (config,) = (CONFIGS / 'lpn/lspet').glob('*128x128.py')
    assert tool(src, ours, '--config', config)[0] == 0
    meta = _load_checkpoint(str(ours), map_location='cpu')['meta']
    assert len(meta['dataset_meta']['keypoint_id2name']) == 14


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda w: w.update({'fc.weight': w['conv1.weight']}),
            "1 of 467 keys are not those of LPN's original code: 'fc.weight'",
        ),
        (lambda w: w.pop('layer2.1.bn2.bias'), '1 missing: backbone.layer2.1.conv2.bn.bias'),
        (
            lambda w: w.update({'bn1.bias': torch.ones(3)}),
            '1 of another shape: backbone.stem.bn.bias',
        ),
        (
            lambda w: w.update({'layer1.2.downsample.0.weight': torch.ones(1)}),
            '1 unused: backbone.layer1.2.downsample.conv.weight',
        ),
        (lambda w: w.update(epoch=3), "'epoch' is not a tensor but int"),
        (lambda w: w.pop('layer1.0.conv2.weight'), 'no layer1.0.conv2.weight'),
        (lambda w: w.pop('final_layer.weight'), "no 'head.final_layer.weight'"),
        (lambda w: w.update({'backbone.x': torch.ones(1)}), '--inverse'),
    ],
)
def test_what_does_not_fit_is_named(change, message, mpii, tool, tmp_path):
    src = tmp_path / 'src.pth'
    weights = dict(mpii)
    change(weights)
    torch.save(weights, src)
    code, out, error = tool(src, tmp_path / 'ours.pth')
    assert code == 2 and not out
    (line,) = error.splitlines()
    assert line.startswith('error: ') and message in line and str(src) in line
    assert not (tmp_path / 'ours.pth').exists()


def test_bad_files(mpii, tool, tmp_path):
    code, _, error = tool('no.pth', tmp_path / 'ours.pth')
    assert code == 2 and 'no.pth does not exist' in error
    src = tmp_path / 'src.pth'
    torch.save(mpii, src)
    code, _, error = tool(src, tmp_path / 'ours.pth', '--inverse')
    assert code == 2 and 'leave out --inverse' in error
    code, _, error = tool(src, tmp_path / 'ours.pth', '--config', 'no.py')
    assert code == 2 and 'no.py does not exist' in error


def test_code_in_a_file_is_not_run(tool, tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / 'ran',)

    torch.save({'conv1.weight': Evil()}, tmp_path / 'src.pth')
    code, _, error = tool(tmp_path / 'src.pth', tmp_path / 'ours.pth')
    assert code == 2 and 'cannot be read' in error
    assert not (tmp_path / 'ran').exists()

"""The comparison at an equal budget, of projects/lsp_extended."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from synthetic import make_lspet

from lpn_mmpose.utils.config import load_config

TOOL = Path(__file__).parents[1] / 'projects/lsp_extended/compare_peers.py'


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, plain_config_text):
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [TOOL.name, *map(str, args)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out.splitlines()

    return run


def test_trains_once_and_compares(tmp_path, run, capsys):
    make_lspet(tmp_path / 'data/lspet')
    options = (
        '--work-dir',
        'peers',
        '--epochs',
        1,
        '--batch-size',
        2,
        '--input-size',
        64,
        '--threads',
        1,
        '--repeats',
        1,
        '--cfg-options',
        *(
            f'{split}_dataloader.{option}'
            for split in ('train', 'val')
            for option in ('num_workers=0', 'persistent_workers=False')
        ),
    )
    run('--models', 'LPN-50', *options)
    record = json.loads((tmp_path / 'peers/peers.json').read_text())
    assert [row['model'] for row in record['rows']] == ['LPN-50']
    weights = Path(record['rows'][0]['checkpoint'])
    assert weights.name == 'epoch_1.pth'
    written = weights.stat().st_mtime_ns

    *_, head, _, first, second, last = run('--models', 'LPN-50', 'RTMPose-t', *options)
    assert weights.stat().st_mtime_ns == written
    assert head == ('| model | loss | parameters | MACs | PCK@0.2 | PCK@0.1 | ms |')
    lines = sorted((first, second))
    assert lines[0].startswith("| LPN-50 | LPN's | 2.91 M | 89 M |")
    assert lines[1].startswith('| RTMPose-t | its own | 3.11 M | 36 M |')
    assert last == 'record: peers/peers.json'

    with pytest.raises(SystemExit) as end:
        run('--models', 'LPN-50', *options, 'randomness.seed=1')
    assert end.value.code == 2
    assert 'peers holds another budget' in capsys.readouterr().err

    (tmp_path / 'peers/peers.json').write_text('{"rows": [')
    with pytest.raises(SystemExit) as end:
        run('--models', 'LPN-50', *options)
    assert end.value.code == 2
    (error,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert 'peers/peers.json cannot be read' in error


@pytest.mark.parametrize('option', ['--epochs', '--batch-size', '--threads'])
def test_nothing_to_train_on(option, run, capsys):
    with pytest.raises(SystemExit) as end:
        run(option, 0)
    assert end.value.code == 2
    assert f'{option} must be at least 1' in capsys.readouterr().err


@pytest.mark.parametrize(
    'name, loss, codec',
    [
        ('RTMPose-s', 'recipe', 'SimCCLabel'),
        ('MobileNetV2', 'recipe', 'BetaSoftArgmaxHeatmap'),
        ('MobileNetV2', 'own', 'MSRAHeatmap'),
    ],
)
def test_networks_are_mmposes_and_the_rest_ours(name, loss, codec):
    tool = runpy.run_path(str(TOOL))
    recipe = load_config(str(tool['RECIPE']))
    cfg = tool['peer_config'](name, recipe, loss)
    assert cfg.optim_wrapper == recipe.optim_wrapper
    assert cfg.val_dataloader == recipe.val_dataloader
    decoder = cfg.model.head.decoder
    assert decoder.type == codec and tuple(decoder.input_size) == (128, 128)
    steps, ours = (c.train_dataloader.dataset.pipeline for c in (cfg, recipe))
    assert [s for s in steps if s.type != 'GenerateTarget'] == [
        s for s in ours if s.type != 'GenerateTarget'
    ]
    assert next(s for s in steps if s.type == 'GenerateTarget').encoder == decoder
    assert cfg.model.backbone.init_cfg is None
    assert cfg.model.head.out_channels == 14
    own = cfg.model.head.loss.type != recipe.model.head.loss.type
    assert own == (codec != 'BetaSoftArgmaxHeatmap')

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from published_speed import (
    Network,
    draw,
    exported_network,
    machine,
    measure,
    torch_network,
    with_flip,
)

from lpn_mmpose.zoo.page import page
from lpn_mmpose.zoo.published import compare, published_rows

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'


def test_page_is_in_step():
    """After a change: ``python tools/model_zoo.py``."""
    speed = DOCS / 'speed_accuracy.json'
    expected = page(speed if speed.is_file() else None)
    assert (DOCS / 'model_zoo.md').read_text() == expected
    for link in expected.split('](../')[1:]:
        assert (ROOT / link.partition(')')[0]).exists()


def test_page_prints_the_published_digits():
    text = page()
    for row in (
        '96.4 | 95.3 | 89.0 | 83.2 | 88.4 | 84.0 | 79.6 | 88.5 | 34.0',
        '96.56 | 95.33 | 88.51 | 83.50 | 88.84 | 84.00 | 79.81 | 88.64 | 34.12',
        '0.691 | 0.881 | 0.766 | 0.659 | 0.757 | 0.749 | 0.923 | 0.818 | 0.707 | 0.810',
        '0.751 | 0.906 | 0.822 | 0.715 | 0.818 | 0.804 | 0.943 | 0.867 | 0.762 | 0.864',
    ):
        assert text.count(f'| {row} |') == 1


def test_published_rows():
    rows = published_rows()
    assert [row.method for row in rows if row.dataset == 'MPII'] == ['pose_resnet_50', 'lpn_50']
    assert [row.method for row in rows if row.dataset == 'COCO'] == [
        'pose_resnet_50',
        'pose_resnet_101',
        'pose_resnet_152',
        'pose_hrnet_w32',
        'pose_hrnet_w48',
        'lpn_50',
        'lpn_101',
        'lpn_152',
    ]
    for row in rows:
        assert Path(row.config_path).stem == row.name
        assert len(row.metrics) == (10 if row.dataset == 'COCO' else 9)
        assert row.method in row.original_file


def test_collections_name_their_readme():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    contents = [yaml.safe_load((ROOT / path).read_text()) for path in index['Import']]
    readmes = {
        collection['Name']: collection['README']
        for content in contents
        for collection in content.get('Collections', [])
    }
    assert all((ROOT / path).is_file() for path in readmes.values())
    for content in contents:
        for model in content['Models']:
            assert model['In Collection'] in readmes


@pytest.mark.parametrize(
    'value, published, explanation',
    [
        (11.987, '12.0G', 'rounded'),
        (8.991, '8.9G', 'cut off'),
        (15.765, '15.7G', 'cut off'),
        (8.89, '9.0G', None),
        (9.04, '8.9G', None),
        (0.05, '0.1M', 'rounded'),
    ],
)
def test_compare(value, published, explanation):
    difference, found = compare(value, published)
    assert found == explanation
    assert difference == pytest.approx(value - float(published[:-1]))


def test_same_names_as_mmpose_would_hide_its_models():
    from mmengine.utils import get_installed_path

    theirs = Path(get_installed_path('mmpose')) / '.mim/configs'
    names = {path.stem for path in theirs.rglob('*.py')}
    assert names
    assert not names & {row.name for row in published_rows()}


def forward(images):
    """Heatmaps by one convolution."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 17, 4, stride=4)
    with torch.no_grad():
        return conv(images)


def test_flip_is_the_mean_with_the_mirrored_image():
    """Keypoints swapped, shifted by a pixel, as in evaluation."""
    images, swap = torch.randn(1, 3, 64, 48), list(range(17))[::-1]
    heatmaps = with_flip(forward, images, swap)
    plain = forward(images)
    torch.testing.assert_close(heatmaps(False), plain)
    mirrored = forward(images.flip(-1)).flip(-1)[:, swap]
    shifted = torch.cat([mirrored[..., :1], mirrored[..., :-1]], -1)
    torch.testing.assert_close(heatmaps(True), (plain + shifted) / 2)


def test_measure_and_draw(tmp_path):
    """Every network in turn, and the page and picture of the outcome."""
    rows = published_rows()
    order = []

    def counting(row):
        images = torch.randn(1, 3, 64, 48)

        def call(images):
            order.append(row)
            return forward(images)

        return Network(
            row,
            'PyTorch',
            with_flip(call, images, list(range(17))),
            images,
            torch.nn.Conv2d(3, 17, 4),
        )

    results = measure([counting(row) for row in rows], rounds=2)
    one_round = [row for row in rows for _ in range(3)]
    assert order == 3 * one_round  # one to warm up, two counted
    assert [r['method'] for r in results] == [row.method for row in rows]
    for result, row in zip(results, rows):
        assert result['published'] == row.metrics.get('AP', row.metrics.get('Mean'))
        for kind in ('flip', 'no_flip'):
            low, high = result[kind]['ms_quartiles']
            assert 0 < low <= result[kind]['ms'] <= high
            assert result[kind]['fps'] > 0
    report = dict(machine=machine(), threads=1, rounds=2, results=results)
    assert report['machine']['cpu']
    draw(report, str(tmp_path / 'speed.png'))
    assert (tmp_path / 'speed.png').read_bytes().startswith(b'\x89PNG')

    (tmp_path / 'speed.json').write_text(json.dumps(report))
    text = page(tmp_path / 'speed.json')
    assert '](speed.png)' in text and '1 thread(s)' in text
    assert text.count('| PyTorch |') == len(rows)


def test_exported_network(tmp_path):
    """With a flip test in the file, and the same shapes as in PyTorch."""
    row = next(row for row in published_rows() if row.method == 'lpn_50')
    net = torch_network(row)
    exported = exported_network(net, 1, tmp_path)
    assert (exported.runtime, exported.params) == ('ONNX Runtime', net.params)
    once, twice = exported.heatmaps(False), exported.heatmaps(True)
    with torch.inference_mode():
        assert once.shape == twice.shape == tuple(net.heatmaps(True).shape)
    assert abs(once - twice).max() > 1e-3 * np.ptp(once)

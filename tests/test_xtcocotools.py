"""The stand-in for xtcocotools gives what xtcocotools 1.14.3 gives."""

import copy

import numpy as np
import pytest
from keypoint_sets import CASES, GOLDEN, evaluate, make_set
from pycocotools import mask as coco_mask
from test_compat import run_python
from xtcocotools import coco as installed_coco
from xtcocotools import cocoeval as installed_cocoeval

from lpn_mmpose.errors import InputError
from lpn_mmpose.utils.xtcocotools import coco, cocoeval, mask


@pytest.mark.parametrize('case', CASES)
def test_equal_to_the_last_digit(case, tmp_path):
    """To stored results, and to the package where it is installed."""
    ours, matches = evaluate(coco, cocoeval, case, tmp_path / 'truth.json')
    assert len(ours['stats']) == (9 if 'crowd' in case else 10)
    with np.load(GOLDEN) as stored:
        for key in ('precision', 'recall', 'stats'):
            np.testing.assert_array_equal(ours[key], stored[f'{case}/{key}'])
    theirs, expected = evaluate(installed_coco, installed_cocoeval, case, tmp_path / 'truth.json')
    for key in ours:
        np.testing.assert_array_equal(ours[key], theirs[key])
    assert len(matches) == len(expected)
    for found, wanted in zip(matches, expected):
        assert (found is None) == (wanted is None)
        for key in wanted or ():
            np.testing.assert_array_equal(found[key], wanted[key])


@pytest.mark.parametrize('variant', ['bbox', 'segm', 'keypoints_tail'])
def test_other_variants_are_named(variant):
    with pytest.raises(NotImplementedError, match=f"'{variant}'.*keypoints_wholebody"):
        cocoeval.COCOeval(iouType=variant)


def evaluation(layout, **options):
    truth, results = make_set(layout)
    truth = coco.COCO(ann_data=truth)
    return cocoeval.COCOeval(truth, truth.loadRes(results), **options)


def test_annotations_stay_as_they_are():
    evaluated = evaluation('coco')
    truth, results = copy.deepcopy((evaluated.cocoGt.anns, evaluated.cocoDt.anns))
    evaluated.evaluate()
    assert (evaluated.cocoGt.anns, evaluated.cocoDt.anns) == (truth, results)
    assert evaluated.params.iouType == 'keypoints'


def test_missing_area_is_named():
    evaluated = evaluation('coco')
    del evaluated.cocoGt.anns[3]['area']
    with pytest.raises(InputError, match="annotation 3 has no 'area'.*use_area=False"):
        evaluated.evaluate()


def test_missing_crowd_index_is_named():
    evaluated = evaluation('coco', iouType='keypoints_crowd')
    evaluated.evaluate()
    evaluated.accumulate()
    with pytest.raises(InputError, match="image 0 has no 'crowdIndex'"):
        evaluated.summarize()


@pytest.mark.parametrize('package', [coco, installed_coco], ids=['ours', 'installed'])
def test_annotations(package, tmp_path):
    truth, results = make_set('own')
    chosen = package.COCO('truth.json', [4, 0], copy.deepcopy(truth))
    wanted = np.reshape(truth['annotations'][5]['keypoints'], (5, 3))[[4, 0]]
    assert chosen.anns[5]['keypoints'] == wanted.reshape(-1).tolist()
    areas = sorted(ann['area'] for ann in truth['annotations'])
    assert len(chosen.getAnnIds(areaRng=[areas[3], areas[7]])) == 4
    assert {ann['iscrowd'] for ann in chosen.anns.values()} == {0, 1}
    none = chosen.loadRes([])
    assert none.getAnnIds() == [] and len(none.getImgIds()) == 24
    given = chosen.loadRes('results.json', copy.deepcopy(results))
    assert given.anns[1]['area'] == results[0]['bbox'][2] * results[0]['bbox'][3]
    assert chosen.anno_file == ['truth.json', []]
    with pytest.raises(FileNotFoundError, match='nowhere'):
        package.COCO(str(tmp_path / 'nowhere.json'))


def test_masks():
    assert mask.frPyObjects is coco_mask.frPyObjects and mask.decode is coco_mask.decode


FIND = 'import lpn_mmpose, xtcocotools.coco, xtcocotools.cocoeval, xtcocotools.mask\n'
WHERE = FIND + 'print(xtcocotools.coco.__file__, xtcocotools._mask.found)'


def make_package(folder, extension):
    package = folder / 'xtcocotools'
    package.mkdir()
    for name in ('__init__', 'coco', 'cocoeval', 'mask'):
        (package / f'{name}.py').write_text('import xtcocotools._mask' * (name == 'mask'))
    (package / '_mask.py').write_text(extension)
    return package


def test_installed_package_is_used(tmp_path):
    package = make_package(tmp_path, 'found = 1')
    assert run_python(WHERE, tmp_path) == f'{package / "coco.py"} 1'


@pytest.mark.parametrize(
    'extension', ['raise ValueError("numpy.dtype size changed")', 'import no_such_module']
)
def test_broken_package_is_not(tmp_path, extension):
    make_package(tmp_path, extension)
    code = FIND + 'print(xtcocotools.coco.__file__)'
    assert run_python(code, tmp_path) == coco.__file__


def test_missing_package():
    out = run_python(
        'import importlib.machinery as machinery\n'
        'find = machinery.PathFinder.find_spec\n'
        'machinery.PathFinder.find_spec = staticmethod(\n'
        '    lambda name, *args: None if name == "xtcocotools" else find(name, *args))\n'
        'import lpn_mmpose\n'
        'from mmpose.evaluation.metrics import coco_metric\n'
        'print(coco_metric.COCOeval.__module__, coco_metric.COCO.__module__)\n'
        'import sys; print(sys.modules[coco_metric.COCO.__module__].__file__)\n'
    )
    names, path = out.splitlines()[-2:]
    assert names == 'xtcocotools.cocoeval xtcocotools.coco' and path == coco.__file__

import copy
import json

import pytest

from lpn_mmpose.datasets.annotations import inspect, repair

NAMES = ('head', 'left_hand', 'right_hand')


def content():
    """Two images with a person each, nothing wrong."""
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=100, height=80) for i in (1, 2)],
        annotations=[
            dict(
                id=i,
                image_id=i,
                category_id=1,
                bbox=[10, 10, 40, 50],
                area=900,
                iscrowd=0,
                num_keypoints=2,
                keypoints=[20, 20, 2, 30, 40, 1, 0, 0, 0],
            )
            for i in (1, 2)
        ],
        categories=[dict(id=1, name='person', keypoints=list(NAMES))],
    )


def spoil(key, value, annotation=1):
    """Set (or, by ``KeyError``, remove) a key of an annotation."""

    def change(data):
        target = data['annotations'][annotation]
        target.pop(key) if value is KeyError else target.update({key: value})

    return change


def flag(value):
    return lambda data: data['annotations'][1]['keypoints'].__setitem__(2, value)


def string_image_ids(data):
    for image, annotation in zip(data['images'], data['annotations']):
        image['id'] = annotation['image_id'] = f'img{image["id"]}'


@pytest.mark.parametrize(
    'change, message, key, expected',
    [
        (spoil('area', KeyError), 'annotation 2: no area', 'area', 1060),
        (spoil('area', None), 'annotation 2: area is None', 'area', 1060),
        (spoil('area', 0), 'annotation 2: area is 0', 'area', 1060),
        (spoil('area', 1), "annotation 2: area is 1; COCO's AP", 'area', 1060),
        (spoil('area', '900'), "annotation 2: area is '900'", 'area', 1060),
        (
            spoil('keypoints', KeyError),
            'annotation 2: no keypoints; training leaves the person out',
            'keypoints',
            [0] * 9,
        ),
        (spoil('category_id', KeyError), 'annotation 2: no category_id', 'category_id', 1),
        (spoil('category_id', '1'), "annotation 2: category '1'", 'category_id', 1),
        (spoil('id', '2'), "annotation '2': COCO", 'id', 2),
        (spoil('id', KeyError), 'annotation number 1, without id', 'id', 2),
        (spoil('id', 1), 'annotation 1: only the last one', 'id', 2),
        (spoil('image_id', '2'), "annotation 2: image '2'", 'image_id', 2),
        (flag(-1), 'annotation 2: keypoint 0 has flag -1', 'keypoints', [20, 20, 0]),
        (flag(3), 'annotation 2: keypoint 0 has flag 3', 'keypoints', [20, 20, 2]),
        (flag('2'), 'annotation 2: a keypoint is a string', 'keypoints', [20, 20, 2]),
        (flag(float('nan')), 'keypoint 0 is not a number', 'keypoints', [0, 0, 0]),
        (flag(0), 'num_keypoints is 2, 1 are labelled', 'num_keypoints', 1),
        (
            spoil('num_keypoints', 0),
            'num_keypoints is 0, 2 are labelled; training leaves',
            'num_keypoints',
            2,
        ),
        (
            spoil('bbox', ['10', '10', '40', '50']),
            'has strings; training stops',
            'bbox',
            [10, 10, 40, 50],
        ),
    ],
)
def test_found_and_put_right(change, message, key, expected):
    data = content()
    change(data)
    (finding, *_) = findings = list(inspect(data, NAMES))
    assert message in finding.message
    before = copy.deepcopy(data)
    fixed, changes, left = repair(data, NAMES)
    assert repr(data) == repr(before), 'the content given stays as it is'
    value = fixed['annotations'][1][key]
    if isinstance(value, list):
        value = value[: len(expected)]
    assert value == pytest.approx(expected)
    assert not left and not list(inspect(fixed, NAMES))
    assert sum(changes.values()) >= len(findings) and changes[finding.kind] >= 1
    # nothing else has changed
    assert fixed['annotations'][0] == content()['annotations'][0]


def test_no_categories():
    data = content()
    del data['categories']
    (finding,) = inspect(data, NAMES)
    assert 'no categories' in finding.message
    fixed, changes, left = repair(data, NAMES)
    assert (changes, left) == ({'no categories': 1}, [])
    assert fixed['categories'] == [dict(id=1, name='person', keypoints=list(NAMES), skeleton=[])]


def test_image_ids_that_are_strings():
    data = content()
    string_image_ids(data)
    assert "image 'img1': training stops" in next(inspect(data, NAMES)).message
    fixed, changes, left = repair(data, NAMES)
    assert not left and changes == {'ids that are no whole numbers': 4}
    for image, annotation in zip(fixed['images'], fixed['annotations']):
        assert isinstance(image['id'], int) and annotation['image_id'] == image['id']
    assert len({image['id'] for image in fixed['images']}) == 2


@pytest.mark.parametrize(
    'change, message',
    [
        (spoil('bbox', KeyError), 'annotation 2: no bbox'),
        (spoil('bbox', [1, 2, 3]), 'is not x, y, w, h'),
        (spoil('bbox', [1, 2, 3, float('inf')]), 'is not finite'),
        (spoil('keypoints', [1, 2, 3]), '3 keypoint numbers, not 3 x 3'),
        (spoil('image_id', 7), 'annotation 2: image 7'),
        (lambda data: data['images'][1].update(id=1), 'image 1: only the last one'),
        (lambda data: data['images'][1].pop('width'), 'width is None'),
        (lambda data: data['annotations'].append([]), 'annotation number 2 is list'),
    ],
)
def test_left_to_a_person(change, message):
    data = content()
    change(data)
    assert any(message in finding.message for finding in inspect(data, NAMES))
    _, _, left = repair(data, NAMES)
    assert any(message in finding.message for finding in left)


@pytest.mark.parametrize('data', [None, [], 3, {}, dict(images=[], annotations={})])
def test_other_content(data):
    (finding,) = inspect(data, NAMES)
    assert 'no lists' in finding.message and finding.fix is None


def test_whole_and_untouched():
    data = content()
    assert not list(inspect(data, NAMES))
    fixed, changes, left = repair(data, NAMES)
    assert json.dumps(fixed) == json.dumps(data) and not changes and not left

import json

import pytest

from lpn_mmpose.dataset_converters import hold_out, is_held_out


def annotations(count, folder=''):
    """Images 0 to ``count`` - 1 with i % 3 persons each."""
    return dict(
        images=[dict(id=i, file_name=f'{folder}{i:06d}.jpg') for i in range(count)],
        annotations=[dict(id=10 * i + j, image_id=i) for i in range(count) for j in range(i % 3)],
        categories=[dict(id=1, name='person')],
    )


def split(tmp_path, content, share=0.1):
    source = tmp_path / 'all.json'
    source.write_text(json.dumps(content))
    paths = tmp_path / 'train.json', tmp_path / 'new/val.json'
    counts = hold_out(source, *paths, share=share)
    return counts, [json.loads(path.read_text()) for path in paths]


def names(part):
    return {image['file_name'].rsplit('/')[-1] for image in part['images']}


def test_photographs_are_split_once_with_all_their_persons(tmp_path):
    content = annotations(1000)
    counts, (train, val) = split(tmp_path, content)
    assert not names(train) & names(val)
    assert len(names(train) | names(val)) == 1000
    assert 70 < len(names(val)) < 130
    for part, count in zip((train, val), (counts['train'], counts['val'])):
        ids = {image['id'] for image in part['images']}
        expected = [ann for ann in content['annotations'] if ann['image_id'] in ids]
        assert part['annotations'] == expected
        assert count == dict(images=len(ids), persons=len(expected))
        assert part['categories'] == content['categories']


def test_side_depends_on_the_name_alone(tmp_path):
    _, (_, val) = split(tmp_path, annotations(300))
    _, (_, other) = split(tmp_path, annotations(200, 'elsewhere/'))
    assert names(other) == {name for name in names(val) if int(name[:6]) < 200}
    # what is held out must not change from one version to the next
    held = [i for i in range(100) if is_held_out(f'im{i:04d}.jpg', 0.1)]
    assert held == [31, 36, 52, 59, 72, 97]


@pytest.mark.parametrize(
    'content, share, message',
    [
        ({}, 0.1, 'all.json.*images'),
        (annotations(20), 0, 'share'),
        (annotations(20), 1e-9, 'no person'),
    ],
)
def test_refusals(tmp_path, content, share, message):
    with pytest.raises(ValueError, match=message):
        split(tmp_path, content, share)

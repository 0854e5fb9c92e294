"""What a COCO-style annotation file must be like, and its repair.

The rules are those that MMPose's datasets, its losses and COCO's evaluation
rely on without checking them: a file that breaks one trains for an epoch and
then stops, or trains on something else than it says.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError

#: Share of a person's box that is the person, as MMPose estimates it.
AREA_OF_BOX = 0.53


@dataclass
class Finding:
    """Something that is wrong in an annotation file.

    Attributes:
        kind (str): What is wrong, the same words for the same mistake.
        message (str): Where, and what training would do.
        fix (Callable, optional): Puts it right in the content that was
            inspected; None if that takes a person.
    """

    kind: str
    message: str
    fix: Callable[[], None] | None = None


def is_id(value: Any) -> bool:
    """Whether ``value`` is a whole number from 0, as COCO's ids are."""
    if isinstance(value, float):
        return value.is_integer() and value >= 0
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    """Whether ``value`` is a number that fits into a float, NaN included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < 2**1000


def as_numbers(values: Any) -> list[float] | None:
    """Return a list of numbers or of strings that say numbers, else None."""
    try:
        return (
            [v if is_number(v) else float(v) for v in values] if isinstance(values, list) else None
        )
    except (TypeError, ValueError, OverflowError):
        return None


def _key(value: Any) -> Any:
    """Return a hashable stand-in: JSON's lists and objects are none."""
    return value if isinstance(value, (str, int, float, type(None))) else repr(value)


def _setter(target: dict, name: str, value: Any) -> Callable[[], None]:
    return lambda: target.__setitem__(name, value)


class _Numbering:
    """New ids for entries that have none of their own."""

    def __init__(self, entries: list) -> None:
        taken = [e['id'] for e in entries if isinstance(e, dict) and is_id(e.get('id'))]
        self.next = int(max(taken, default=0)) + 1

    def __call__(self) -> int:
        self.next += 1
        return self.next - 1


def _inspect_ids(entries: list, what: str, effect: str) -> Iterator[tuple[dict, Finding]]:
    """Find ids that are missing, no whole numbers, or there before."""
    number, seen = _Numbering(entries), set()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        value = entry.get('id')
        if not is_id(value):
            fix = _setter(entry, 'id', number())
            where = f'{what} {value!r}' if 'id' in entry else f'{what} number {index}, without id'
            yield entry, Finding('ids that are no whole numbers', f'{where}: {effect}', fix)
        elif value in seen:
            # of two images of one id, nobody knows which one an annotation means
            fix = None if what == 'image' else _setter(entry, 'id', number())
            message = f'{what} {value}: only the last one with this id is kept'
            yield entry, Finding('repeated ids', message, fix)
        seen.add(_key(value))


def _inspect_images(images: list) -> Iterator[Finding]:
    for index, image in enumerate(images):
        if not isinstance(image, dict):
            yield Finding('malformed images', f'image number {index} is {type(image).__name__}')
            continue
        name = f'image {image.get("id")!r}'
        if not isinstance(image.get('file_name'), str):
            yield Finding('malformed images', f'{name}: no file_name; training stops at it')
        for side in ('width', 'height'):
            if not is_number(image.get(side)) or not image[side] > 0:
                yield Finding(
                    'malformed images',
                    f'{name}: {side} is {image.get(side)!r}; training stops at it',
                )


def _inspect_categories(content: dict, names: Sequence[str]) -> Iterator[Finding]:
    categories = content.get('categories')
    if not isinstance(categories, list) or not categories:
        used = Counter(
            a['category_id']
            for a in content['annotations']
            if isinstance(a, dict) and is_id(a.get('category_id'))
        )
        number = used.most_common(1)[0][0] if used else 1
        person = dict(id=number, name='person', keypoints=list(names), skeleton=[])
        yield Finding(
            'no categories',
            "no categories: COCO's evaluation has nothing to compare; AP is -1 or it stops",
            _setter(content, 'categories', [person]),
        )
        return
    for index, category in enumerate(categories):
        if not isinstance(category, dict):
            yield Finding('malformed categories', f'category number {index} is no object')
            continue
        theirs = category.get('keypoints') or names
        if list(theirs) != list(names):
            yield Finding(
                'other keypoints than the dataset type',
                f'category {category.get("name")!r} has {", ".join(map(str, theirs))}; '
                f'the dataset has {", ".join(names)}',
            )


def _inspect_reference(
    annotation: dict, name: str, what: str, targets: dict[Any, dict], effect: str
) -> Iterator[Finding]:
    """Check that ``image_id`` or ``category_id`` names one that is there."""
    key, value = f'{what}_id', annotation.get(f'{what}_id')
    if is_id(value) and value in targets:
        return
    same = [t for t in targets.values() if str(t.get('id')) == str(value)]
    if value is None and what == 'category' and len(targets) == 1:
        same = list(targets.values())
    elif what == 'category' and not targets and is_id(value):
        return  # reported as no categories
    # the target's id is read when the fix runs: it may have got a new one
    fix = (lambda: annotation.__setitem__(key, same[0]['id'])) if len(same) == 1 else None
    said = f'no {key}' if key not in annotation else f'{what} {value!r}'
    kind = (
        'annotations of unknown images' if what == 'image' else 'annotations of unknown categories'
    )
    if key in annotation and same:
        kind = 'ids that are no whole numbers'
    yield Finding(kind, f'{name}: {said}; {effect}', fix)


def _inspect_box(annotation: dict, name: str) -> Iterator[Finding]:
    if 'bbox' not in annotation:
        yield Finding('malformed boxes', f'{name}: no bbox; training leaves the person out')
        return
    box = annotation['bbox']
    numbers = as_numbers(box)
    if numbers is None or len(numbers) != 4:
        yield Finding(
            'malformed boxes', f'{name}: bbox {box!r} is not x, y, w, h; training stops at it'
        )
    elif not all(map(is_number, box)):
        finite = all(map(math.isfinite, numbers))
        yield Finding(
            'malformed boxes',
            f'{name}: bbox {box!r} has strings; training stops at it',
            _setter(annotation, 'bbox', numbers) if finite else None,
        )
    elif not all(map(math.isfinite, numbers)):
        yield Finding(
            'malformed boxes', f'{name}: bbox {box!r} is not finite; training crops nothing for it'
        )


def _inspect_keypoints(annotation: dict, name: str, count: int) -> Iterator[Finding]:
    if 'keypoints' not in annotation:

        def none_labelled() -> None:
            annotation.update(keypoints=[0] * 3 * count, num_keypoints=0)

        yield Finding(
            'annotations without keypoints',
            f"{name}: no keypoints; training leaves the person out, COCO's evaluation "
            'with this file stops',
            none_labelled,
        )
        return
    given = annotation['keypoints']
    numbers = as_numbers(given)
    if numbers is None or len(numbers) != 3 * count:
        length = f'{len(given)} keypoint numbers' if isinstance(given, list) else repr(given)
        yield Finding(
            'malformed annotations', f'{name}: {length}, not 3 x {count}; training stops at it'
        )
        return
    if not all(map(is_number, given)):
        yield Finding(
            'malformed annotations',
            f"{name}: a keypoint is a string; COCO's evaluation stops at it",
            _setter(annotation, 'keypoints', numbers),
        )
    triples = np.array(numbers, float).reshape(-1, 3)
    lost = ~np.isfinite(triples).all(1)
    if lost.any():
        yield Finding(
            'malformed annotations',
            f'{name}: keypoint {np.flatnonzero(lost)[0]} is not a number; the loss becomes NaN',
            lambda: _change_keypoints(annotation, lost, lambda rows: np.zeros_like(rows)),
        )
    odd = ~lost & ~np.isin(triples[:, 2], (0, 1, 2))
    if odd.any():
        flag = triples[odd][0, 2]
        effect = (
            'the loss has a negative weight there'
            if flag < 0
            else 'as much weight as any visible one has'
            if flag > 1
            else 'a part of the weight'
        )
        yield Finding(
            'visibility flags',
            f'{name}: keypoint {np.flatnonzero(odd)[0]} has flag {flag:g}, its flag not 0, 1, 2: '
            f'{effect}',
            lambda: _change_keypoints(
                annotation,
                odd,
                lambda rows: np.column_stack([rows[:, :2], np.rint(rows[:, 2]).clip(0, 2)]),
            ),
        )
    labelled = int(((triples[:, 2] > 0) & ~lost).sum())
    told = annotation.get('num_keypoints', labelled)
    if told != labelled:
        effect = '; training leaves the person out' if told == 0 else ''
        yield Finding(
            'malformed annotations',
            f'{name}: num_keypoints is {told!r}, {labelled} are labelled{effect}',
            lambda: annotation.update(
                num_keypoints=sum(flag > 0 for flag in annotation['keypoints'][2::3])
            ),
        )


def _change_keypoints(annotation: dict, rows: np.ndarray, change: Callable) -> None:
    triples = np.array(annotation['keypoints'], float).reshape(-1, 3)
    triples[rows] = change(triples[rows])
    annotation['keypoints'] = triples.ravel().tolist()


def _inspect_area(annotation: dict, name: str) -> Iterator[Finding]:
    """Check the area that COCO's OKS divides by."""
    flags = as_numbers(annotation.get('keypoints')) or []
    if annotation.get('iscrowd') or not any(flag > 0 for flag in flags[2::3]):
        return
    box = as_numbers(annotation.get('bbox')) or []
    size = box[2] * box[3] if len(box) == 4 else math.nan
    area = annotation.get('area')
    if 'area' not in annotation:
        said, effect = 'no area', "COCO's evaluation stops at it"
    elif not is_number(area) or not math.isfinite(area):
        said, effect = f'area is {area!r}', "COCO's evaluation stops at it"
    elif area <= 1 and not area >= size:
        said, effect = f'area is {area!r}', "COCO's AP counts the person as missed by any model"
    else:
        return
    known = math.isfinite(size) and size > 0
    fix = _setter(annotation, 'area', AREA_OF_BOX * size) if known else None
    yield Finding("areas that COCO's AP cannot use", f'{name}: {said}; {effect}', fix)


def inspect(content: Any, names: Sequence[str]) -> Iterator[Finding]:
    """Find what is wrong in the content of a COCO-style annotation file.

    Args:
        content (Any): The file's content, from JSON.
        names (Sequence[str]): Names of the K keypoints of the dataset.

    Yields:
        Finding: In the order of the file. Collect all before a fix is run.
    """
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ('images', 'annotations')
    ):
        yield Finding('malformed annotations', "no lists 'images' and 'annotations', as COCO has")
        return
    images, annotations = content['images'], content['annotations']
    yield from _inspect_images(images)
    for _, finding in _inspect_ids(images, 'image', 'training stops at it'):
        yield finding
    yield from _inspect_categories(content, names)
    categories = content.get('categories')
    categories = (
        [c for c in categories if isinstance(c, dict)] if isinstance(categories, list) else []
    )
    for _, finding in _inspect_ids(categories, 'category', 'the evaluation leaves its persons out'):
        yield finding
    by_image = {_key(i.get('id')): i for i in images if isinstance(i, dict)}
    by_category = {_key(c.get('id')): c for c in categories}
    effect = "COCO's evaluation stops at it or takes it for another"
    ids = {
        id(annotation): finding
        for annotation, finding in _inspect_ids(annotations, 'annotation', effect)
    }
    for index, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            message = f'annotation number {index} is {type(annotation).__name__}'
            yield Finding('malformed annotations', message)
            continue
        if id(annotation) in ids:
            yield ids[id(annotation)]
        name = f'annotation {annotation.get("id", f"number {index}")}'
        yield from _inspect_reference(
            annotation, name, 'image', by_image, 'training leaves the person out'
        )
        yield from _inspect_reference(
            annotation,
            name,
            'category',
            by_category,
            'the evaluation leaves the person out'
            if 'category_id' in annotation
            else 'training stops at it',
        )
        yield from _inspect_box(annotation, name)
        yield from _inspect_keypoints(annotation, name, len(names))
        yield from _inspect_area(annotation, name)


def repair(content: Any, names: Sequence[str]) -> tuple[Any, Counter, list[Finding]]:
    """Put right what can be put right without looking at the images.

    Args:
        content (Any): The content of a COCO-style annotation file; it stays
            as it is.
        names (Sequence[str]): Names of the K keypoints of the dataset.

    Returns:
        tuple[Any, Counter, list[Finding]]: The new content, the number of
        changes by the kind of mistake, and what is still wrong.

    Raises:
        InputError: If the content is nested too deeply to be annotations.
    """
    try:
        content = copy.deepcopy(content)
    except RecursionError:
        raise InputError('the content is nested too deeply to be annotations') from None
    changes: Counter = Counter()
    findings = list(inspect(content, names))
    # a changed flag changes what is right elsewhere: each round is seen anew
    for _ in range(4):
        fixable = [finding for finding in findings if finding.fix]
        if not fixable:
            break
        for finding in fixable:
            finding.fix()
            changes[finding.kind] += 1
        findings = list(inspect(content, names))
    return content, changes, findings

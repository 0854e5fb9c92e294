"""Persons from frame to frame: boxes, identities, smooth keypoints."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np

from . import topdown
from .pose import PoseRuntime, whole_image

#: Takes an image, returns boxes (N, 4) and their scores (N, ).
FindBoxes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Persons:
    """What is known of the N persons of an image.

    Args:
        keypoints (np.ndarray): (x, y) in pixels, in shape (N, K, 2).
        scores (np.ndarray): Keypoints' scores in shape (N, K).
        boxes (np.ndarray): Boxes (x1, y1, x2, y2) in shape (N, 4).
        box_scores (np.ndarray): Boxes' scores in shape (N, ).
        ids (np.ndarray, optional): N integers that stay with the persons
            from frame to frame.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    box_scores: np.ndarray
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        """Return N."""
        return len(self.keypoints)

    def __getitem__(self, index: np.ndarray) -> 'Persons':
        """Return the persons that an array of indices or booleans picks."""
        return Persons(
            self.keypoints[index],
            self.scores[index],
            self.boxes[index],
            self.box_scores[index],
            None if self.ids is None else self.ids[index],
        )


def find_whole_image(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the whole image for a person's box."""
    return whole_image(image), np.ones(1, np.float32)


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return boxes' intersections over unions, (N, M) of (N, 4), (M, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return shared / np.maximum(union, 1e-9)


def match_boxes(a: np.ndarray, b: np.ndarray, iou_thr: float) -> list[tuple[int, int]]:
    """Pair boxes greedily, the largest overlap first.

    Args:
        a (np.ndarray): Boxes (x1, y1, x2, y2) in shape (N, 4).
        b (np.ndarray): Boxes in shape (M, 4).
        iou_thr (float): Pairs that overlap less are none.

    Returns:
        list[tuple[int, int]]: Indices into ``a`` and ``b``, each at most once.
    """
    iou = pairwise_iou(a, b)
    pairs = []
    while iou.size and iou.max() >= iou_thr:
        i, j = np.unravel_index(iou.argmax(), iou.shape)
        pairs.append((int(i), int(j)))
        iou[i], iou[:, j] = -1, -1
    return pairs


def cancel(jobs: list[Future]) -> None:
    """Take back what has not begun, and empty the list."""
    for job in jobs:
        job.cancel()
    jobs.clear()


def find_persons(
    images: Iterable[np.ndarray], find_boxes: FindBoxes, pose: PoseRuntime, ahead: int
) -> Iterator[tuple[np.ndarray, Persons]]:
    """Find the persons in each of a video's frames, of which several are under way at once.

    Args:
        images (Iterable[np.ndarray]): uint8 in shape (H, W, 3), BGR; each an array of its own.
        find_boxes (Callable): Gives boxes and their scores for an image; a
            :class:`PersonDetector` does so in its threads.
        pose (PoseRuntime): Gives keypoints and scores, in its threads.
        ahead (int): Frames under way in each of the two.

    Yields:
        tuple: A frame and its Persons.
    """
    searched, begun = deque(), deque()  # frames and what is under way for them
    submit = getattr(find_boxes, 'submit', None)

    def begin() -> None:
        image, job = searched.popleft()
        boxes, box_scores = job.result() if submit else job
        begun.append((image, boxes, box_scores, pose.submit(image, boxes)))

    def end() -> tuple[np.ndarray, Persons]:
        image, boxes, box_scores, jobs = begun[0]
        found = [job.result() for job in jobs] or [pose(image, boxes)]  # of nobody
        begun.popleft()
        return image, Persons(*map(np.concatenate, zip(*found)), boxes, box_scores)

    try:
        for image in images:
            searched.append((image, (submit or find_boxes)(image)))
            if len(searched) > ahead:
                begin()
            if len(begun) > ahead:
                yield end()
        while searched:
            begin()
            yield end()
        while begun:
            yield end()
    finally:
        if submit:
            cancel([job for _, job in searched])
        cancel([job for *_, jobs in begun for job in jobs])


class PoseTracker:
    """Follow the persons of a video.

    With ``reuse_boxes``, a person's box is the one around the keypoints of
    the frame before. ``find_boxes`` is called again when there is nobody,
    when somebody is lost, that is, when fewer than ``min_keypoints`` keypoints
    score ``keypoint_thr``, and every ``find_every`` frames. Otherwise it is
    called for every frame, and persons are told apart by their boxes'
    overlap with those of the frame before.

    Args:
        pose (PoseRuntime): Gives keypoints and scores for an image and boxes.
        find_boxes (Callable): Gives boxes and their scores for an image.
            Default: the whole image.
        reuse_boxes (bool): See above. Default: True.
        find_every (int, optional): Frames after which newcomers are looked
            for; None for never. Default: None.
        keypoint_thr (float): Score of a keypoint that counts. Default: 0.3.
        min_keypoints (int): A person with fewer keypoints that count is lost.
            Default: 4.
        iou_thr (float): Overlap of boxes that are of one person.
            Default: 0.3.
        same_thr (float): Overlap of the boxes around two persons' keypoints
            from which on they are the same person, and the newer one is
            dropped. Default: 0.8.
        margin (float): See :func:`lpn_mmpose.runtime.topdown.keypoints_to_box`.
            Default: 0.15, that of the training boxes and some for movement.

    Example:
        >>> detector = PersonDetector('rtmdet.onnx')    # doctest: +SKIP
        >>> track = PoseTracker(PoseRuntime(), detector)    # doctest: +SKIP
        >>> for image in video:                         # doctest: +SKIP
        ...     persons = track(image)
        ...     print(persons.ids, persons.keypoints.shape)
    """

    def __init__(
        self,
        pose: PoseRuntime,
        find_boxes: FindBoxes = find_whole_image,
        reuse_boxes: bool = True,
        find_every: int | None = None,
        keypoint_thr: float = 0.3,
        min_keypoints: int = 4,
        iou_thr: float = 0.3,
        same_thr: float = 0.8,
        margin: float = 0.15,
    ) -> None:
        self.pose = pose
        self.find_boxes = find_boxes
        self.reuse_boxes = reuse_boxes
        self.find_every = find_every
        self.keypoint_thr = keypoint_thr
        self.min_keypoints = min_keypoints
        self.iou_thr = iou_thr
        self.same_thr = same_thr
        self.margin = margin
        self._next_id = 0
        self._forget()

    def _forget(self) -> None:
        self._boxes = np.zeros((0, 4), np.float32)
        self._box_scores = np.zeros(0, np.float32)
        self._ids = np.zeros(0, int)
        self._age = 0
        self._lost = False

    def __call__(self, image: np.ndarray) -> Persons:
        """Estimate the poses in the next frame.

        Args:
            image (np.ndarray): uint8 in shape (H, W, 3), BGR.

        Returns:
            Persons: With ``ids``, in ascending order.
        """
        self._start_frame(image)
        keypoints, scores = self.pose(image, self._boxes)
        return self._end_frame(image, keypoints, scores)

    def track(self, images: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, Persons]]:
        """Estimate the poses in a video's frames: the same as by calls, but sooner.

        When the keypoints of a person and those before are known, that person is looked for in
        the next frame, while others are still looked for in this one, so that no CPU waits at the
        end of a frame. What was begun before somebody turned out to be lost is dropped. A frame is
        given when the one after it has come, so that a camera's would come late.

        Args:
            images (Iterable[np.ndarray]): As of a call; each is an array of its own, which stays
                as it is until it is given. ``pose`` must be a :class:`PoseRuntime`.

        Yields:
            tuple: A frame and its Persons.
        """
        images = iter(images)
        image = next(images, None)
        jobs, ahead = [], []  # of this frame, and of the next
        try:
            while image is not None:
                self._start_frame(image)
                if not jobs and self.reuse_boxes and self.pose.side_by_side(len(self._boxes)):
                    jobs = self.pose.submit(image, self._boxes)
                following, ahead = next(images, None), []
                if not jobs:
                    persons = self._end_frame(image, *self.pose(image, self._boxes))
                else:
                    go_on = following is not None and not self._is_due()
                    found, boxes = [], []
                    for job in jobs:
                        keypoints, scores = job.result()
                        box = self._box_around(keypoints[0], scores[0], image)
                        go_on = go_on and box is not None
                        if go_on:
                            ahead += self.pose.submit(following, box[None])
                        found.append((keypoints, scores))
                        boxes.append(box)
                    persons = self._end_frame(image, *map(np.concatenate, zip(*found)), boxes)
                    if self._is_due():
                        cancel(ahead)
                yield image, persons
                image, jobs = following, ahead
        finally:
            cancel(jobs + ahead)

    def _is_due(self) -> bool:
        """Tell whether persons are to be searched in the next frame."""
        return (
            not self.reuse_boxes
            or self._lost
            or not len(self._ids)
            or self._age + 1 == self.find_every
        )

    def _start_frame(self, image: np.ndarray) -> None:
        """Set the boxes for a frame."""
        if self._is_due():
            self._find(image)
        else:
            self._age += 1

    def _find(self, image: np.ndarray) -> None:
        """Take the persons who are found, under their old ids if they match.

        Those who are not found are kept if their boxes come from keypoints.
        """
        self._age, self._lost = 0, False
        boxes, box_scores = self.find_boxes(image)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        ids = np.full(len(boxes), -1)
        known = np.zeros(len(self._ids), bool)
        for i, j in match_boxes(boxes, self._boxes, self.iou_thr):
            ids[i], known[j] = self._ids[j], True
        new = ids < 0
        ids[new] = self._next_id + np.arange(new.sum())
        self._next_id += int(new.sum())
        if self.reuse_boxes:
            boxes = np.concatenate([boxes, self._boxes[~known]])
            box_scores = np.concatenate([box_scores, self._box_scores[~known]])
            ids = np.concatenate([ids, self._ids[~known]])
        order = np.argsort(ids)
        self._ids, self._boxes = ids[order], boxes[order]
        self._box_scores = np.asarray(box_scores, np.float32)[order]

    def _box_around(self, keypoints, scores, image) -> np.ndarray | None:
        """Return the box (4, ) of a person in the next frame; None if the person is lost."""
        height, width = image.shape[:2]
        points = [
            (x, y)
            for (x, y), score in zip(keypoints.tolist(), scores.tolist())
            if score >= self.keypoint_thr and 0 <= x < width and 0 <= y < height
        ]
        if len(points) < self.min_keypoints:
            return None
        box = topdown.keypoints_to_box(points, (width, height), self.margin)
        return box if (box[2:] - box[:2]).min() >= 1 else None

    def _end_frame(self, image, keypoints, scores, boxes=None) -> Persons:
        """Return the persons of a frame; set the boxes for the next, leave out who is lost."""
        persons = Persons(keypoints, scores, self._boxes, self._box_scores, self._ids)
        if not self.reuse_boxes:
            return persons
        if boxes is None:
            boxes = [self._box_around(*person, image) for person in zip(keypoints, scores)]
        followed = [i for i, box in enumerate(boxes) if box is not None]
        boxes = np.reshape([boxes[i] for i in followed], (-1, 4)).astype(np.float32)
        iou, kept = pairwise_iou(boxes, boxes), np.ones(len(boxes), bool)
        for i in range(len(boxes)):
            kept[i] = not (iou[i, :i][kept[:i]] >= self.same_thr).any()
        index = np.array(followed, int)[kept]
        self._lost = len(index) < len(persons)
        persons = persons[index]
        self._boxes, self._ids, self._box_scores = boxes[kept], persons.ids, persons.box_scores
        return persons


class KeypointSmoother:
    """Smooth keypoints over time by a `1€ filter`_ for each coordinate.

    Speeds are measured in the person's size at first sight per second, so that
    the parameters mean the same for small and for large persons.

    Args:
        fps (float): Frames per second.
        min_cutoff (float): Cutoff frequency at rest in Hz: less removes more
            jitter. Default: 1.0.
        beta (float): How much the cutoff grows with the speed: more follows
            fast movements sooner. Default: 8.0.

    Raises:
        ImportError: If the package ``OneEuroFilter`` is not installed.

    .. _`1€ filter`: https://gery.casiez.net/1euro/
    """

    def __init__(self, fps: float, min_cutoff: float = 1.0, beta: float = 8.0) -> None:
        from OneEuroFilter import OneEuroFilter

        self._filter = OneEuroFilter
        self.fps = fps
        self.min_cutoff = min_cutoff
        self.beta = beta
        self._filters: dict[int, list] = {}

    def __call__(self, persons: Persons) -> Persons:
        """Smooth the next frame's persons.

        Args:
            persons (Persons): With ``ids``. Who is missing is forgotten.

        Returns:
            Persons: With other ``keypoints``.
        """
        smooth = np.empty_like(persons.keypoints)
        filters = {}
        for i, key in enumerate(persons.ids.tolist()):
            values = persons.keypoints[i].ravel().tolist()
            filters[key] = self._filters.get(key)
            if filters[key] is None:
                size = max(np.ptp(persons.keypoints[i], axis=0).max(), 1.0)
                filters[key] = [
                    self._filter(self.fps, self.min_cutoff, self.beta / size) for _ in values
                ]
            smooth[i].flat = [f(v) for f, v in zip(filters[key], values)]
        self._filters = filters
        return replace(persons, keypoints=smooth)

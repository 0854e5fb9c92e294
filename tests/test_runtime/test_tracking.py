import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lpn_mmpose.runtime import KeypointSmoother, Persons, PoseTracker
from lpn_mmpose.runtime.tracking import find_persons, match_boxes, pairwise_iou

IMAGE = np.zeros((300, 400, 3), np.uint8)
SHAPE = np.array([(0, 0), (40, 0), (0, 100), (40, 100), (20, 50)], float)


class World:
    """Persons at known places, seen by a pose model and a detector.

    As a real model does, it sees what is in the box: the person whose middle
    is nearest to the box's, with low scores if there is none inside.
    """

    def __init__(self):
        self.places = {}
        self.searches = 0
        self.blind = False

    def at(self, image):
        """Return the places of the persons in a frame."""
        return self.places

    def pose(self, image, boxes):
        keypoints = np.zeros((len(boxes), 5, 2), np.float32)
        scores = np.full((len(boxes), 5), 0.05, np.float32)
        for i, (x1, y1, x2, y2) in enumerate(boxes):
            middle = np.array([x1 + x2, y1 + y2]) / 2
            keypoints[i] = middle
            near = sorted(
                (np.abs(place + (20, 50) - middle).max(), *place)
                for place in map(np.array, self.at(image).values())
            )
            if near and near[0][0] < (y2 - y1) / 2:
                keypoints[i] = SHAPE + near[0][1:]
                scores[i] = 0.9
        return keypoints, scores

    def find(self, image):
        self.searches += 1
        places = [] if self.blind else list(self.at(image).values())
        boxes = [(x - 5, y - 5, x + 45, y + 105) for x, y in places]
        return np.reshape(np.array(boxes, np.float32), (-1, 4)), np.full(
            len(boxes), 0.8, np.float32
        )

    def tracker(self, **kwargs):
        return PoseTracker(self.pose, self.find, **kwargs)


class Film(World):
    """A world whose persons are at other places in each frame.

    It is also a pose model that takes persons one by one, in threads.

    Args:
        places (list[dict]): Of each frame.
        threads (int): Threads; 0 if persons are to be taken all at once.
    """

    def __init__(self, places, threads):
        super().__init__()
        self.film = places
        self.threads = threads
        self.jobs = []
        self.pool = ThreadPoolExecutor(max(threads, 1))
        self.frames = [np.full((300, 400, 3), i, np.uint8) for i in range(len(places))]

    def at(self, image):
        return self.film[image[0, 0, 0]]

    def __call__(self, image, boxes):
        return self.pose(image, boxes)

    def submit(self, image, boxes):
        jobs = [self.pool.submit(self, image, box[None]) for box in boxes]
        self.jobs += jobs
        return jobs

    def side_by_side(self, count):
        return count > 0 and self.threads > 0

    def tracker(self, **kwargs):
        return PoseTracker(self, self.find, **kwargs)


def walk(t):
    """Two persons who walk towards each other, a third who comes, jumps, and leaves."""
    places = dict(a=(20 + 4 * t, 30), b=(300 - 4 * t, 150))
    if 9 <= t < 30:
        places['c'] = (330 - 300 * (t >= 17), 40)
    if t in (12, 13):  # two of one place
        places['c'] = places['b']
    return places


@pytest.mark.parametrize('threads', [0, 1, 2, 3])
@pytest.mark.parametrize('settings', [{}, *(dict(find_every=n) for n in (1, 3, 7))])
def test_a_film_is_tracked_as_its_frames_are(threads, settings):
    film = Film([walk(t) for t in range(40)] + [{}] * 2 + [walk(0)] * 3, threads)
    track = film.tracker(**settings)
    expected = [track(image) for image in film.frames]
    searches, film.searches = film.searches, 0
    found = list(film.tracker(**settings).track(film.frames))
    assert film.searches == searches
    assert [image[0, 0, 0] for image, _ in found] == list(range(45))
    for (_, actual), wanted in zip(found, expected, strict=True):
        for name in ('ids', 'keypoints', 'scores', 'boxes', 'box_scores'):
            np.testing.assert_array_equal(getattr(actual, name), getattr(wanted, name))
    newcomers = {3} if settings else set()
    assert {len(persons) for persons in expected} == {0, 2} | newcomers


@pytest.mark.parametrize('settings', [dict(reuse_boxes=False), dict(find_every=5)])
def test_a_film_without_frames(settings):
    assert not list(Film([], 2).tracker(**settings).track([]))


def test_who_is_known_does_not_wait_for_the_others():
    film = Film([dict(a=(20, 30), b=(300, 150))] * 3, 2)
    begun = threading.Event()
    pose = film.pose

    def slow(image, boxes):
        """Give the second person of the first frame when the first one's next frame is begun."""
        if image[0, 0, 0] == 1:
            begun.set()
        elif image[0, 0, 0] == 0 and boxes[0, 0] > 200:
            assert begun.wait(20), 'nothing was begun'
        return pose(image, boxes)

    film.pose = slow
    assert [persons.ids.tolist() for _, persons in film.tracker().track(film.frames)] == [
        [0, 1]
    ] * 3


def test_nothing_is_begun_before_a_search():
    film = Film([dict(a=(20, 30), b=(300, 150))] * 9, 2)
    assert len(list(film.tracker(find_every=3).track(film.frames))) == 9
    assert (film.searches, len(film.jobs)) == (3, 18)


def boxes_in_threads(film):
    """A detector that takes images one by one, in threads."""

    def find(image):
        return film.find(image)

    find.submit = lambda image: film.pool.submit(film.find, image)
    return find


@pytest.mark.parametrize('ahead', [1, 2, 5])
@pytest.mark.parametrize('in_threads', [False, True])
def test_persons_of_several_frames_at_once(ahead, in_threads):
    film = Film([walk(t) for t in range(20)] + [{}] * 3 + [walk(0)], 2)
    find = boxes_in_threads(film) if in_threads else film.find
    taken = []

    def images():
        for image in film.frames:
            taken.append(1)
            yield image

    found = find_persons(images(), find, film, ahead)
    for i, ((image, persons), frame) in enumerate(zip(found, film.frames, strict=True)):
        assert image is frame
        assert len(taken) <= i + 2 * ahead + 1
        boxes, box_scores = film.find(frame)
        keypoints, scores = film.pose(frame, boxes)
        for name, wanted in [
            ('keypoints', keypoints),
            ('scores', scores),
            ('boxes', boxes),
            ('box_scores', box_scores),
        ]:
            np.testing.assert_array_equal(getattr(persons, name), wanted)
    assert not list(find_persons([], find, film, ahead))


@pytest.mark.parametrize('fails', [False, True])
@pytest.mark.parametrize('way', ['track', 'find_persons'])
def test_what_is_left_or_fails_is_taken_back(way, fails):
    film = Film([dict(a=(20, 30), b=(300, 150))] * 9, 1)
    free, pose = threading.Event(), film.pose

    def held(image, boxes):
        """Wait at the second frame, or fail there."""
        if image[0, 0, 0] and len(boxes):
            if fails:
                raise ValueError('no more')
            free.wait(20)
        return pose(image, boxes)

    film.pose = held
    if way == 'track':
        found = film.tracker().track(film.frames)
    else:
        found = find_persons(film.frames, boxes_in_threads(film), film, 1)
    next(found)
    if fails:
        with pytest.raises(ValueError, match='no more'):
            list(found)
    found.close()
    assert len([job for job in film.jobs if not job.done()]) <= 1  # what runs
    assert fails or any(job.cancelled() for job in film.jobs)
    free.set()


def test_boxes_come_from_the_frame_before():
    world = World()
    track = world.tracker()
    for t in range(40):
        world.places = dict(a=(20 + 5 * t, 30), b=(300 - 5 * t, 150))
        persons = track(IMAGE)
        assert persons.ids.tolist() == [0, 1]
        np.testing.assert_allclose(persons.keypoints[0], SHAPE + world.places['a'])
        np.testing.assert_allclose(persons.keypoints[1], SHAPE + world.places['b'])
    assert world.searches == 1
    # the box reaches 15 % of the person's length beyond the keypoints
    persons = track(IMAGE)
    x, y = world.places['a']
    np.testing.assert_allclose(persons.boxes[0], (x - 15, y - 15, x + 55, y + 115))


def test_detector_runs_again_when_somebody_is_lost():
    world = World()
    world.places = dict(a=(20, 30), b=(300, 150))
    track = world.tracker()
    track(IMAGE)
    track(IMAGE)
    assert world.searches == 1
    world.places = dict(a=(20, 30), b=(150, 30))  # b jumps away
    persons = track(IMAGE)
    assert persons.ids.tolist() == [0] and world.searches == 1
    persons = track(IMAGE)
    assert persons.ids.tolist() == [0, 2] and world.searches == 2
    np.testing.assert_allclose(persons.keypoints[1], SHAPE + (150, 30))


def test_who_is_not_detected_again_is_kept():
    world = World()
    world.places = dict(a=(20, 30))
    track = world.tracker(find_every=2)
    track(IMAGE)
    world.blind = True
    for _ in range(6):
        assert track(IMAGE).ids.tolist() == [0]
    assert world.searches == 4
    world.places = {}
    assert len(track(IMAGE)) == 0
    world.blind, world.places = False, dict(a=(200, 100))
    assert track(IMAGE).ids.tolist() == [1]


@pytest.mark.parametrize('find_every, frame', [(None, None), (3, 3)])
def test_newcomers(find_every, frame):
    world = World()
    world.places = dict(a=(20, 30))
    track = world.tracker(find_every=find_every)
    track(IMAGE)
    world.places['b'] = (200, 100)
    counts = [len(track(IMAGE)) for _ in range(5)]
    assert counts == ([1] * 5 if frame is None else [1, 1, 2, 2, 2])


def test_two_boxes_do_not_follow_one_person():
    world = World()
    world.places = dict(a=(100, 100), b=(200, 100))
    track = world.tracker()
    assert len(track(IMAGE)) == 2
    world.places = dict(a=(150, 100))
    track(IMAGE)
    assert len(track(IMAGE)) == 1


def test_without_reuse_the_detector_runs_each_frame():
    world = World()
    track = world.tracker(reuse_boxes=False)
    for t in range(5):
        world.places = dict(b=(300 - 8 * t, 150), a=(20 + 8 * t, 30))
        persons = track(IMAGE)
        assert persons.ids.tolist() == [0, 1]
        np.testing.assert_allclose(persons.keypoints[0], SHAPE + world.places['b'])
    assert world.searches == 5
    world.blind = True
    assert len(track(IMAGE)) == 0


def test_whole_image_is_the_default():
    world = World()
    world.places = dict(a=(180, 100))
    track = PoseTracker(world.pose)
    for _ in range(3):
        persons = track(IMAGE)
        assert persons.ids.tolist() == [0]
        np.testing.assert_allclose(persons.keypoints[0], SHAPE + (180, 100))
    np.testing.assert_allclose(persons.boxes[0], (165, 85, 235, 215))


def test_match_boxes():
    a = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]], float)
    b = np.array([[21, 0, 31, 10], [1, 0, 11, 10], [2, 0, 12, 10]], float)
    assert pairwise_iou(a, b)[0, 1] == pytest.approx(90 / 110)
    assert sorted(match_boxes(a, b, 0.3)) == [(0, 1), (1, 0)]
    assert match_boxes(a, b, 0.9) == []
    assert match_boxes(a[:0], b, 0.3) == match_boxes(a, b[:0], 0.3) == []


def persons_at(points, ids):
    n, k = points.shape[:2]
    return Persons(points, np.ones((n, k)), np.zeros((n, 4)), np.ones(n), np.array(ids))


def test_smoothing_removes_jitter_and_follows_movement():
    rng = np.random.RandomState(0)
    smooth = KeypointSmoother(fps=25)
    true, seen, out = [], [], []
    for t in range(150):
        place = SHAPE + (2.0 * max(t - 75, 0), 0)  # rests, then walks
        noisy = place + rng.normal(0, 1.5, SHAPE.shape)
        true.append(place)
        seen.append(noisy)
        out.append(smooth(persons_at(noisy[None], [3])).keypoints[0])
    true, seen, out = map(np.array, (true, seen, out))
    jitter = [np.abs(np.diff(x[25:75], axis=0)).mean() for x in (seen, out)]
    assert jitter[1] < jitter[0] / 3
    error = np.abs(out - true)[100:, :, 0].mean()
    assert error < 8  # four frames behind at most
    np.testing.assert_array_equal(out[0], seen[0])


def test_smoothing_keeps_persons_apart_and_forgets():
    smooth = KeypointSmoother(fps=25)
    two = np.stack([SHAPE, SHAPE + 100])
    for _ in range(3):
        np.testing.assert_allclose(smooth(persons_at(two, [0, 1])).keypoints, two)
    np.testing.assert_allclose(smooth(persons_at(two[::-1], [1, 0])).keypoints, two[::-1])
    smooth(persons_at(two[:1], [0]))
    moved = smooth(persons_at(two[:1] + 50, [1])).keypoints
    np.testing.assert_allclose(moved, two[:1] + 50)


def test_smoothing_means_the_same_at_any_size():
    rng = np.random.RandomState(1)
    frames = [SHAPE + rng.normal(0, 3, SHAPE.shape) for _ in range(20)]
    small, large = KeypointSmoother(25), KeypointSmoother(25)
    for frame in frames:
        a = small(persons_at(frame[None], [0])).keypoints
        b = large(persons_at(10 * frame[None], [0])).keypoints
        np.testing.assert_allclose(10 * a, b, rtol=1e-6)

#!/usr/bin/env python
"""Evaluate MediaPipe's BlazePose on held-out photographs of one person each.

Needs ``mediapipe==0.10.21``, whose requirements differ from ours: install it
in an environment of its own and put its ``site-packages`` on ``PYTHONPATH``.
BlazePose gets the whole photograph and finds the person with its own
detector; where it finds nobody, all joints count as wrong. The other models'
rows are what ``evaluate.py`` prints.
"""

import argparse
import runpy
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

#: BlazePose's landmarks of ``LIMB_JOINTS``: shoulders, elbows, wrists, hips, knees, ankles.
LANDMARKS = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]


def main() -> None:
    import mediapipe

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', default='data', help='folder of the data')
    parser.add_argument('--set', default='LSP Extended', help='as in evaluate.py')
    args = parser.parse_args()
    common = runpy.run_path(str(Path(__file__).with_name('evaluate.py')))
    ann_file, images = (Path(args.data, path) for path in common['SETS'][args.set])
    persons = common['read_persons'](ann_file)
    errors, found = [], []
    with mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1) as pose:
        for person in tqdm(persons):
            image = cv2.imread(str(images / person['file_name']))
            landmarks = pose.process(image[..., ::-1]).pose_landmarks
            found.append(landmarks is not None)
            error = np.full((1, len(LANDMARKS)), np.inf)
            if found[-1]:
                points = np.array([[p.x, p.y] for p in landmarks.landmark])[LANDMARKS]
                points *= image.shape[1::-1]
                error = np.linalg.norm(points - person['keypoints'], axis=-1)
            errors.append(error)
    found = np.array(found)
    errors, keypoints, labelled = (
        np.concatenate(arrays)
        for arrays in (errors, *([p[key] for p in persons] for key in ('keypoints', 'labelled')))
    )
    sizes = common['torso_sizes'](keypoints, labelled, common['LIMB_JOINTS'])
    print(f'persons found: {found.mean():.3f} of {len(found)}')
    for thr in (0.2, 0.1):
        everyone, those = (
            np.nanmean(common['joint_accuracy'](errors[which], labelled[which], sizes[which], thr))
            for which in (slice(None), found)
        )
        print(f'PCK@{thr}: {everyone:.3f}, of those found {those:.3f}')


if __name__ == '__main__':
    main()

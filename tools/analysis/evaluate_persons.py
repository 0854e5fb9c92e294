#!/usr/bin/env python
"""Evaluate detector and pose model together on photographs of several persons.

Prints COCO's AP with detected boxes beside that with the annotated boxes,
over the joints that COCO and the model share, and what the detector's boxes
are of. Draws the photographs with the most persons.
"""

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from lpn_mmpose.analysis.person_chain import PersonChain
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime import PersonDetector, PoseRuntime, draw_poses
from lpn_mmpose.runtime.media import read_image, write_image
from lpn_mmpose.runtime.pose import DEFAULT_MODEL


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('annotations', help="COCO's keypoint annotations")
    parser.add_argument('images', help='folder of the images')
    parser.add_argument('--det', default='yolox-nano', help='detector (default: %(default)s)')
    parser.add_argument('--det-thr', type=float, default=0.3, help='default: %(default)s')
    parser.add_argument('--nms-thr', type=float, help="default: the detector's")
    parser.add_argument('--model', default=DEFAULT_MODEL, help='exported pose model')
    parser.add_argument('--num', type=int, default=4, help='photographs to draw (default: 4)')
    parser.add_argument('--out-dir', default='outputs/persons')
    return parser.parse_args()


def evaluate(args):
    pose = PoseRuntime(args.model)
    detector = PersonDetector(args.det, score_thr=args.det_thr, iou_thr=args.nms_thr)
    chain = PersonChain(Path(args.annotations), Path(args.images), pose, detector)
    given, found = {}, {}
    for image, with_given, with_found in tqdm(chain.run(), total=len(chain.images)):
        given[image['id']], found[image['id']] = with_given, with_found
    results = dict(
        model=args.model,
        det=Path(args.det).name,
        det_thr=args.det_thr,
        images=len(chain.images),
        joints=chain.joints,
        annotated_boxes=chain.average_precision(given),
        detected_boxes=chain.average_precision(found),
        boxes=chain.count_boxes(found),
    )
    out = Path(args.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    (out / 'persons.json').write_text(json.dumps(results, indent=1))
    most = sorted(chain.images, key=lambda image: -len(found[image['id']]))[: args.num]
    for image in most:
        persons = found[image['id']]
        drawn = draw_poses(
            read_image(chain.folder / image['file_name']),
            persons.keypoints,
            persons.scores,
            pose.meta.keypoint_names,
            pose.meta.skeleton,
            boxes=persons.boxes,
        )
        write_image(out / Path(image['file_name']).name, drawn)
    return results


def main():
    args = parse_args()
    try:
        results = evaluate(args)
    except InputError as error:
        fail(error)
    print(f'{results["images"]} photographs, {len(results["joints"])} joints that both have')
    print(f'{"boxes":10}' + ''.join(f'{name:>8}' for name in results['annotated_boxes']))
    for name in ('annotated', 'detected'):
        values = results[f'{name}_boxes'].values()
        print(f'{name:10}' + ''.join(f'{value:8.3f}' for value in values))
    counts = results['boxes']
    print(
        f'persons larger than 32x32: {counts["persons"]}, with a box of IoU 0.5: '
        f'{counts["found"]} ({counts["recall"]:.3f})'
    )
    print(
        f'boxes: {counts["boxes"]}, of an annotated person {counts["matched"]}, of one that has a '
        f'better one {counts["twice"]}, of a part {counts["parts"]}, in a crowd {counts["crowd"]}, '
        f'other {counts["other"]}'
    )
    print(f'written to {args.out_dir}')


if __name__ == '__main__':
    main()

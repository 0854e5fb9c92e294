"""What the package makes of the tests' inputs, as JSON on standard output.

``reference.py topdown``: heatmaps, boxes and an image, and what the package's
top-down arithmetic and OpenCV make of them.
``reference.py poses [--model MODEL] [--det YOLOX] IMAGE...``: the persons in
photographs.
``reference.py files DIR``: write ``pose.onnx``, a network of three keypoints
that differs from the shipped one in all that its metadata say; ``yolox.onnx`` and
``whole.onnx``, which find two persons, or one in all of the picture, where it is higher
than wide; ``video.webm`` and ``camera.y4m``, whose frames are ``video.png`` and
``camera.png``; ``dark.webm``, in which there is nobody; ``clear.png``, half of which is
transparent.
"""

import argparse
import base64
import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import helper

from lpn_mmpose.runtime import PersonDetector, PoseRuntime, model_meta, topdown
from lpn_mmpose.runtime.detector import fit_image
from lpn_mmpose.runtime.pose import whole_image

SCORE_THR = IOU_THR = 0.3
YOLOX_SIZE = (416, 416)
DEMO = Path(__file__).resolve().parents[3] / 'demo/demo.jpg'


def packed(array: np.ndarray) -> dict:
    """Return an array as its shape and its bytes in base64."""
    data = base64.b64encode(np.ascontiguousarray(array)).decode()
    return dict(shape=array.shape, data=data)


def gaussians(rng, count, width, height) -> np.ndarray:
    """Return heatmaps with noise, whose peaks lie anywhere, also outside."""
    x, y = rng.uniform(-2, 2 + np.array([[width], [height]]), (2, count))
    squares = (np.arange(width) - x[:, None, None]) ** 2 + (
        np.arange(height)[:, None] - y[:, None, None]
    ) ** 2
    maps = rng.uniform(0.05, 1, (count, 1, 1)) * np.exp(-squares / 4.5)
    return (maps + rng.normal(0, 0.01, maps.shape)).astype(np.float32)


def topdown_cases() -> dict:
    """Return inputs and results of crop and decode."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (97, 143, 3), np.uint8)
    cases = []
    for input_size, size, padding in (
        ((192, 256), (48, 64), 1.25),
        ((144, 192), (36, 48), 1.0),
    ):
        width, height = size
        maps = gaussians(rng, 40, width, height)
        maps[0] = 0.5  # all equal: the centre
        maps[1] = 0
        maps[1, 7, 4:6] = 1  # two peaks: a coordinate that ends in .5
        maps[2] = -maps[2] - 1  # nothing positive
        for box in (
            [0, 0, 143, 97],
            [-20.3, 10.7, 40, 90.1],
            [60.25, 30.5, 71.125, 88],
            [-900, -800, 1500, 2000],
        ):
            boxes = np.array([box], np.float32)
            center, scale = topdown.boxes_to_center_scale(boxes, input_size, padding)
            (crop,) = topdown.crop(image, center, scale, input_size)
            results = {}
            for name, decode in (
                ('BetaSoftArgmaxHeatmap', topdown.soft_argmax),
                ('MSRAHeatmap', topdown.argmax),
            ):
                coords, scores = decode(maps)
                for quarter in (False, True):
                    if quarter:
                        coords = topdown.quarter_offset(coords, maps)
                    keypoints = topdown.to_image(coords, center[0], scale[0], size)
                    results[f'{name} {quarter}'] = dict(
                        keypoints=keypoints.tolist(), scores=scores.tolist()
                    )
            points = rng.uniform(-10, 150, (5, 2))
            cases.append(
                dict(
                    box=box,
                    input_size=input_size,
                    padding=padding,
                    heatmap_size=size,
                    heatmaps=packed(maps),
                    crop=packed(crop),
                    results=results,
                    points=points.tolist(),
                    points_box=topdown.keypoints_to_box(points, (143, 97), 0.1).tolist(),
                )
            )
    output = rng.normal(0, 1, (3549, 85)).astype(np.float32)
    output[:, 4:6] = rng.uniform(0, 1, (3549, 2))
    detections = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / 'yolox.onnx'
        write_onnx(
            model,
            [('ReduceMin', ['images'], ['least'], dict(keepdims=0))]
            + [('Mul', ['least', 'none'], ['nothing'], {})]
            + [('Add', ['boxes', 'nothing'], ['output'], {})],
            ('images', onnx.TensorProto.FLOAT, [1, 3, *YOLOX_SIZE[::-1]]),
            ('output', onnx.TensorProto.FLOAT, [1, *output.shape]),
            [('none', np.float32(0)), ('boxes', output[None])],
        )
        detect = PersonDetector(model, score_thr=SCORE_THR, iou_thr=IOU_THR)
    # the last one's height is cut to whole pixels, not rounded
    for shape in ((97, 143), (143, 97), (900, 1200), (427, 640)):
        picture = cv2.resize(image, shape[::-1])
        boxes, scores = detect(picture)
        detections.append(
            dict(
                image=packed(picture),
                letterbox=packed(fit_image(picture, YOLOX_SIZE, 114, 'top-left', True)[0][0]),
                boxes=boxes.tolist(),
                scores=scores.tolist(),
            )
        )
    return dict(image=packed(image), cases=cases, yolox=packed(output), detections=detections)


def poses(images, model, detector) -> dict:
    """Return each photograph's persons, as ``lpn-pose`` writes them."""
    pose = PoseRuntime(model) if model else PoseRuntime()
    detect = PersonDetector(detector, score_thr=SCORE_THR, iou_thr=IOU_THR) if detector else None
    results = {}
    for path in images:
        image = cv2.imread(path)
        boxes = detect(image)[0] if detect else whole_image(image)
        keypoints, scores = pose(image, boxes)
        results[path] = [
            dict(keypoints=points.tolist(), keypoint_scores=values.tolist(), bbox=[box.tolist()])
            for points, values, box in zip(keypoints, scores, boxes)
        ]
    return results


def write_onnx(path, nodes, inputs, outputs, constants, meta=None) -> None:
    """Write an ONNX file; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(
        [helper.make_node(*args, **attributes) for *args, attributes in nodes],
        'test',
        [helper.make_tensor_value_info(*inputs)],
        [helper.make_tensor_value_info(*outputs)],
        [onnx.numpy_helper.from_array(v, name) for name, v in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    if meta:
        helper.set_model_props(model, {model_meta.KEY: meta.to_json()})
    onnx.save(model, path)


def write_files(folder: Path) -> None:
    """Write models and a video, see above."""
    meta = model_meta.PoseMeta(
        input_size=(96, 64),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        dataset='none',
        version='0',
        channel_order='rgb',
        heatmap_size=(24, 16),
        codec='MSRAHeatmap',
        bbox_padding=1.0,
        keypoint_names=('red', 'not_green', 'red_blue'),
        flip_indices=(0, 1, 2),
        skeleton=((0, 1),),
        keypoint_colors=((255, 0, 0), (0, 255, 0), (0, 0, 255)),
        skeleton_colors=((255, 0, 255),),
    )
    # the means of 4x4 pixels: red, not green, more red than blue
    weight = np.array([[1, 0, 0], [0, -1, 0], [1, 0, -1]], np.float32) / 16
    weight = np.tile(weight[..., None, None], (4, 4))
    write_onnx(
        folder / 'pose.onnx',
        [
            ('Cast', ['image'], ['float'], dict(to=onnx.TensorProto.FLOAT)),
            ('Transpose', ['float'], ['planes'], dict(perm=[0, 3, 1, 2])),
            ('Conv', ['planes', 'weight', 'bias'], ['heatmaps'], dict(strides=[4, 4])),
        ],
        ('image', onnx.TensorProto.UINT8, [2, 64, 96, 3]),
        ('heatmaps', onnx.TensorProto.FLOAT, [2, 3, 16, 24]),
        [('weight', weight), ('bias', np.array([0, 255, 128], np.float32))],
        meta,
    )
    output = np.zeros((1, 3549, 85), np.float32)
    # the demo photograph's person, the same again, the head, and one that scores too little
    cells = [52 * 26 + 19, 52 * 26 + 20, 52 * 10 + 24, 52 * 40 + 5]
    output[0, cells, 2:5] = [[3.46, 3.89, 0.9], [3.46, 3.89, 0.8], [2.9, 2.9, 0.7], [2, 2, 0.3]]
    output[..., 5] = 0.9
    whole = np.zeros_like(output)
    whole[0, 52 * 26 + 18] = (0, 0, 4, 4, 0.9, 0.9) + (0,) * 79
    for name, boxes in (('yolox', output), ('whole', whole)):
        # all is multiplied by the right column's mean / 114: padding, or not
        write_onnx(
            folder / f'{name}.onnx',
            [
                ('Gather', ['images', 'last'], ['column'], dict(axis=3)),
                ('ReduceMean', ['column'], ['mean'], dict(keepdims=0)),
                ('Div', ['mean', 'padding'], ['factor'], {}),
                ('Mul', ['boxes', 'factor'], ['output'], {}),
            ],
            ('images', onnx.TensorProto.FLOAT, [1, 3, 416, 416]),
            ('output', onnx.TensorProto.FLOAT, [1, 3549, 85]),
            [('last', np.array([415])), ('padding', np.float32(114)), ('boxes', boxes)],
        )
    image = cv2.imread(str(DEMO))[:, :236]  # even sizes alone
    clear = cv2.cvtColor(cv2.imread(str(DEMO)), cv2.COLOR_BGR2BGRA)
    clear[len(clear) // 2 :] = 0
    cv2.imwrite(str(folder / 'clear.png'), clear)
    dark = np.zeros((236, 334, 3), np.uint8)
    for name, frame in (('video', image), ('dark', dark)):
        writer = cv2.VideoWriter(
            str(folder / f'{name}.webm'), cv2.VideoWriter_fourcc(*'VP80'), 10, frame.shape[1::-1]
        )
        for _ in range(30):
            writer.write(frame)
        writer.release()
    frame = cv2.VideoCapture(str(folder / 'video.webm')).read()[1]
    cv2.imwrite(str(folder / 'video.png'), frame)
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    cv2.imwrite(str(folder / 'camera.png'), cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420))
    header = 'YUV4MPEG2 W236 H334 F10:1 Ip A1:1 C420jpeg\n'
    (folder / 'camera.y4m').write_bytes(header.encode() + 10 * (b'FRAME\n' + planes.tobytes()))


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=('topdown', 'poses', 'files'))
    parser.add_argument('paths', nargs='*')
    parser.add_argument('--model')
    parser.add_argument('--det')
    args = parser.parse_args()
    if args.what == 'files':
        write_files(Path(args.paths[0]))
    elif args.what == 'poses':
        json.dump(poses(args.paths, args.model, args.det), sys.stdout)
    else:
        json.dump(topdown_cases(), sys.stdout)


if __name__ == '__main__':
    main()

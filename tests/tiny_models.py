"""Exported models small enough to compute by hand, and scenes they solve.

The pose model answers to the colours of discs, the detector to bright squares
on a darker ground. Needs neither PyTorch nor trained weights.
"""

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lpn_mmpose.runtime.model_meta import (
    INPUT_NAME,
    KEY,
    OUTPUT_NAMES,
    DetectionMeta,
    ModelMeta,
    PoseMeta,
)

NAMES = ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip', 'left_ankle', 'right_ankle')
SKELETON = ((0, 1), (0, 2), (1, 3), (2, 3), (2, 4), (3, 5))
#: Directions in BGR space, one a keypoint, all across the greys.
AXES = np.array(
    [
        np.cos(angle) * np.array([1, -1, 0]) / np.sqrt(2)
        + np.sin(angle) * np.array([1, 1, -2]) / np.sqrt(6)
        for angle in np.arange(6) * np.pi / 3
    ]
)
#: Distance of a keypoint's colour from grey.
CHROMA = 140
GROUND, PERSON = 108, 148
#: Dimensions of a model's outputs.
RANKS = dict(heatmaps=4, keypoints=3, boxes=3, scores=2)


def scene(boxes, size=(400, 260)):
    """Return an image with a person in each square, and their keypoints.

    Args:
        boxes: Squares (x1, y1, x2, y2).
        size: Width and height.

    Returns:
        tuple: uint8 (H, W, 3) and float (N, 6, 2).
    """
    image = np.full((size[1], size[0], 3), GROUND, np.uint8)
    keypoints = []
    for x1, y1, x2, y2 in boxes:
        cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), (PERSON,) * 3, -1)
        grid = np.array([(x, y) for y in (0.2, 0.5, 0.8) for x in (0.7, 0.3)])
        points = np.rint(grid * (x2 - x1, y2 - y1) + (x1, y1)).astype(int)
        for point, axis in zip(points, AXES):
            color = (128 + CHROMA * axis).tolist()
            cv2.circle(image, point.tolist(), (x2 - x1) // 10, color, -1)
        keypoints.append(points)
    return image, np.array(keypoints, float).reshape(-1, 6, 2)


def constant(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def save(path: Path, meta: ModelMeta, nodes, constants, batch) -> Path:
    width, height = meta.input_size
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [batch, height, width, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * RANKS[name])
        for name in OUTPUT_NAMES[meta.outputs]
    ]
    graph = helper.make_graph(nodes, 'tiny', [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    helper.set_model_props(model, {KEY: meta.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def pose_meta(**kwargs) -> PoseMeta:
    return PoseMeta(
        **{
            **dict(
                input_size=(96, 128),
                heatmap_size=(24, 32),
                mean=(128.0,) * 3,
                std=(120.0,) * 3,
                dataset='discs',
                version='0',
                beta=160.0,
                keypoint_names=NAMES,
                flip_indices=(1, 0, 3, 2, 5, 4),
                skeleton=SKELETON,
            ),
            **kwargs,
        }
    )


def save_pose(path: Path, batch='N', **kwargs) -> Path:
    """Write a model whose heatmaps are high where its colours are."""
    meta = pose_meta(**kwargs)
    axes = AXES if meta.channel_order == 'bgr' else AXES[:, ::-1]
    weight = (axes / CHROMA).astype(np.float32)[:, :, None, None]
    nodes = [
        helper.make_node('Cast', [INPUT_NAME], ['f'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['f'], ['t'], perm=[0, 3, 1, 2]),
        # heatmap pixel i is around input pixel 4 i, as in trained models
        helper.make_node(
            'AveragePool', ['t'], ['p'], kernel_shape=[5, 5], strides=[4, 4], pads=[2, 2, 2, 2]
        ),
        helper.make_node('Conv', ['p', 'weight'], ['heatmaps']),
    ]
    return save(path, meta, nodes, [constant('weight', weight)], batch)


def save_decoding_pose(path: Path) -> Path:
    """Write a model that puts keypoint k at (8 k, 4 k + mean grey / 8)."""
    k = np.arange(6, dtype=np.float32)
    nodes = [
        helper.make_node('Cast', [INPUT_NAME], ['f'], to=TensorProto.FLOAT),
        helper.make_node('ReduceMean', ['f'], ['m'], axes=[1, 2, 3], keepdims=1),
        helper.make_node('Reshape', ['m', 's1'], ['grey']),
        helper.make_node('Mul', ['grey', 'step'], ['shift']),
        helper.make_node('Add', ['shift', 'points'], ['keypoints']),
        helper.make_node('Reshape', ['m', 's2'], ['grey2']),
        helper.make_node('Mul', ['grey2', 'level'], ['scores']),
    ]
    constants = [
        constant('s1', np.array([-1, 1, 1])),
        constant('s2', np.array([-1, 1])),
        constant('step', np.float32([[[0, 1 / 8]]])),
        constant('points', np.stack([8 * k, 4 * k], -1)[None]),
        constant('level', np.full((1, 6), 1 / 255, np.float32)),
    ]
    return save(path, pose_meta(outputs='keypoints'), nodes, constants, 'N')


def save_detector(path: Path, **kwargs) -> Path:
    """Write a detector of squares of 32 px in its input, on a grid of 16."""
    meta = DetectionMeta(
        **{
            **dict(
                input_size=(96, 96),
                mean=(0.0,) * 3,
                std=(1.0,) * 3,
                dataset='squares',
                version='0',
                score_thr=0.6,
                iou_thr=0.5,
            ),
            **kwargs,
        }
    )
    start = 16 * np.arange(5)
    boxes = np.array([(x, y, x + 32, y + 32) for y in start for x in start], np.float32)[None]
    nodes = [
        helper.make_node('Cast', [INPUT_NAME], ['f'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['f'], ['t'], perm=[0, 3, 1, 2]),
        helper.make_node('ReduceMean', ['t'], ['m'], axes=[1], keepdims=1),
        helper.make_node('AveragePool', ['m'], ['p'], kernel_shape=[32, 32], strides=[16, 16]),
        helper.make_node('Reshape', ['p', 'shape'], ['r']),
        helper.make_node('Sub', ['r', 'ground'], ['d']),
        helper.make_node('Div', ['d', 'range'], ['scores']),
        helper.make_node('Unsqueeze', ['scores', 'last'], ['u']),
        helper.make_node('Mul', ['u', 'zero'], ['z']),
        helper.make_node('Add', ['z', 'anchors'], ['boxes']),
    ]
    constants = [
        constant('shape', np.array([-1, 25])),
        constant('ground', np.float32(GROUND)),
        constant('range', np.float32(PERSON - GROUND)),
        constant('last', np.array([2])),
        constant('zero', np.float32(0)),
        constant('anchors', boxes),
    ]
    return save(path, meta, nodes, constants, 'N')

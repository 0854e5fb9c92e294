"""Small ONNX detectors laid out as other projects publish theirs."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (96, 64)
STRIDES = (8, 16, 32)
BOXES = np.float32([[8, 4, 40, 60], [50, 8, 90, 50], [10, 10, 30, 30]])
LABELS = np.array([0, 0, 1])


def _save(path: Path, nodes, constants, inputs, outputs) -> Path:
    def infos(rows):
        return [helper.make_tensor_value_info(*row) for row in rows]

    graph = helper.make_graph(
        nodes,
        'public',
        infos(inputs),
        infos(outputs),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def yolox_grid(size=SIZE):
    """Return the cells (A, 2) and strides (A, 1) of YOLOX's grids, one after the other."""
    rows = [
        (x, y, stride)
        for stride in STRIDES
        for y in range(size[1] // stride)
        for x in range(size[0] // stride)
    ]
    rows = np.array(rows, np.float32)
    return rows[:, :2], rows[:, 2:]


def save_yolox(path: Path, classes=3, decoded=False, seed=0) -> Path:
    """Write a network of random 1x1 convolutions with YOLOX's raw output."""
    rng = np.random.default_rng(seed)
    rows = 5 + classes
    nodes, constants, parts = [], dict(shape=np.array([1, rows, -1])), []
    for stride in STRIDES:
        weight = rng.normal(0, 1 / 255, (rows, 3, 1, 1)).astype(np.float32)
        bias = rng.normal(0, 0.3, rows).astype(np.float32)
        bias[2:4] += 1  # boxes larger than their cells
        constants |= {f'w{stride}': weight, f'b{stride}': bias}
        nodes += [
            helper.make_node(
                'AveragePool',
                ['images'],
                [f'p{stride}'],
                kernel_shape=[stride] * 2,
                strides=[stride] * 2,
            ),
            helper.make_node('Conv', [f'p{stride}', f'w{stride}', f'b{stride}'], [f'c{stride}']),
            helper.make_node('Reshape', [f'c{stride}', 'shape'], [f'r{stride}']),
        ]
        parts.append(f'r{stride}')
    nodes.append(helper.make_node('Concat', parts, ['all'], axis=2))
    nodes.append(helper.make_node('Transpose', ['all'], ['raw'], perm=[0, 2, 1]))
    constants['split'] = np.array([2, 2, 1 + classes])
    nodes.append(helper.make_node('Split', ['raw', 'split'], ['xy', 'wh', 'scores'], axis=2))
    nodes.append(helper.make_node('Sigmoid', ['scores'], ['s']))
    if decoded:
        constants['grid'], constants['stride'] = (array[None] for array in yolox_grid())
        nodes += [
            helper.make_node('Add', ['xy', 'grid'], ['cell']),
            helper.make_node('Mul', ['cell', 'stride'], ['x']),
            helper.make_node('Exp', ['wh'], ['e']),
            helper.make_node('Mul', ['e', 'stride'], ['w']),
        ]
    names = ['x', 'w', 's'] if decoded else ['xy', 'wh', 's']
    nodes.append(helper.make_node('Concat', names, ['output'], axis=2))
    cells = len(yolox_grid()[0])
    return _save(
        path,
        nodes,
        constants,
        [('images', TensorProto.FLOAT, [1, 3, *SIZE[::-1]])],
        [('output', TensorProto.FLOAT, [1, cells, rows])],
    )


#: Nodes that make the means of the input's channels, (1, 3, 1).
_MEANS = [
    helper.make_node('ReduceMean', ['input'], ['mean'], axes=[2, 3], keepdims=0),
    helper.make_node('Unsqueeze', ['mean', 'last'], ['scores3']),
]


def save_dets(path: Path, size=SIZE, labels=True) -> Path:
    """Write a detector as MMDeploy does: BOXES, scored by the input's channels.

    ``size`` is None for a graph that takes any.
    """
    constants = dict(last=np.array([2]), boxes=BOXES[None], labels=LABELS[None])
    nodes = [*_MEANS, helper.make_node('Concat', ['boxes', 'scores3'], ['dets'], axis=2)]
    outputs = [('dets', TensorProto.FLOAT, ['batch', 'num_dets', 5])]
    if labels:
        nodes.append(helper.make_node('Identity', ['labels'], ['classes']))
        outputs.append(('classes', TensorProto.INT64, ['batch', 'num_dets']))
    shape = ['batch', 3, *(size[::-1] if size else ('h', 'w'))]
    return _save(path, nodes, constants, [('input', TensorProto.FLOAT, shape)], outputs)


def save_num_dets(path: Path) -> Path:
    """Write a detector with suppression inside, as MMYOLO does; the third box is filling."""
    constants = dict(
        last=np.array([2]), b=BOXES[None], c=np.int32([[0, 1, 0]]), n=np.int32([[2]]), two=[-1]
    )
    constants['two'] = np.array([1, -1])
    nodes = [
        *_MEANS,
        helper.make_node('Identity', ['n'], ['num_dets']),
        helper.make_node('Identity', ['b'], ['boxes']),
        helper.make_node('Reshape', ['scores3', 'two'], ['scores']),
        helper.make_node('Identity', ['c'], ['labels']),
    ]
    return _save(
        path,
        nodes,
        constants,
        [('input', TensorProto.FLOAT, [1, 3, *SIZE[::-1]])],
        [
            ('num_dets', TensorProto.INT32, [1, 1]),
            ('boxes', TensorProto.FLOAT, [1, 3, 4]),
            ('scores', TensorProto.FLOAT, [1, 3]),
            ('labels', TensorProto.INT32, [1, 3]),
        ],
    )


def save_other(path: Path, shape) -> Path:
    """Write a network with one output ``predictions`` of a shape."""
    nodes = [
        helper.make_node('ReduceMean', ['x'], ['m'], keepdims=0),
        helper.make_node('Expand', ['m', 'shape'], ['predictions']),
    ]
    return _save(
        path,
        nodes,
        dict(shape=np.array(shape)),
        [('x', TensorProto.FLOAT, [1, 3, *SIZE[::-1]])],
        [('predictions', TensorProto.FLOAT, list(shape))],
    )


def pipeline(mean, std, to_rgb, size=SIZE, pad=114) -> dict:
    """Return what MMDeploy writes into pipeline.json, as far as it matters."""
    h_w = [size[1], size[0]]
    transforms = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', keep_ratio=True, size=h_w),
        dict(type='Pad', size=h_w, pad_val=dict(img=[pad] * 3)),
        dict(type='Normalize', mean=mean, std=std, to_rgb=to_rgb),
        dict(type='DefaultFormatBundle'),
        dict(type='Collect', keys=['img'], meta_keys=['scale_factor']),
    ]
    return dict(
        pipeline=dict(
            input=['img'],
            output=['post_output'],
            tasks=[
                dict(type='Task', module='Transform', transforms=transforms),
                dict(type='Task', module='Net', name='detector'),
                dict(type='Task', module='mmdet', component='ResizeBBox'),
            ],
        )
    )

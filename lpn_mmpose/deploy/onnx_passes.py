"""Writing ONNX files, and what is changed in them afterwards."""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..runtime.model_meta import INPUT_NAME

ONNX_OPSET = 17
#: Images of the example that is traced where the batch is dynamic.
TRACE_BATCH = 2


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' remarks on what they trace."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def onnx_scope(root: nn.Module, name: str) -> str:
    """Return how the names of a module's operators begin in ONNX.

    As :func:`torch.onnx.export` writes them: a step for each module that is
    called, a number together with the name before it.

    Args:
        root (nn.Module): The module that is exported.
        name (str): Name of a module inside, e.g. ``'network.head.0'``.

    Raises:
        AttributeError: If there is no such module.

    Example:
        >>> from torch import nn
        >>> from lpn_mmpose.deploy.onnx_passes import onnx_scope
        >>> root = nn.Sequential(nn.Sequential(nn.ReLU()))
        >>> root.add_module('last', nn.ModuleList([nn.ReLU()]))
        >>> onnx_scope(root, '0.0'), onnx_scope(root, 'last.0')
        ('/0/0.0/', '/last.0/')
    """
    module, step, steps = root, '', []
    for child in name.split('.'):
        module = module.get_submodule(child)
        step = f'{step}.{child}' if step and child.isdecimal() else child
        if not isinstance(module, nn.ModuleList):  # it is not called
            steps.append(step)
    return f'/{"/".join(steps)}/'


def to_onnx(
    graph: nn.Module, size: tuple[int, int], names: Sequence[str], path: Path, batch: int | None
) -> None:
    """Write a graph of uint8 images as ONNX.

    Args:
        graph (ImageGraph): The graph.
        size (tuple[int, int]): Size (w, h) of the images.
        names (Sequence[str]): Names of the outputs.
        path (Path): File to write.
        batch (int, optional): Images it takes; None for any number.
    """
    example = torch.zeros((batch or TRACE_BATCH, size[1], size[0], 3), dtype=torch.uint8)
    axes = None if batch else {name: {0: 'batch'} for name in (INPUT_NAME, *names)}
    with quiet(), torch.no_grad():
        # the tracing exporter: the other takes six times as long and gives
        # the same nodes
        torch.onnx.export(
            graph,
            (example,),
            str(path),
            dynamo=False,
            opset_version=ONNX_OPSET,
            input_names=[INPUT_NAME],
            output_names=list(names),
            dynamic_axes=axes,
        )
    if batch is None:
        name_batch(path, onnx_scope(graph, 'network'))


def name_batch(path: Path, scope: str) -> None:
    """Name the batch of all maps of a network with Resize in an ONNX file.

    Shape inference loses a dimension that has a name and no value in Resize
    (onnx 1.23), and ONNX Runtime fuses sums only of maps that it knows to be
    of one shape.

    Args:
        path (Path): Written by :func:`to_onnx`; written anew.
        scope (str): Of the network, from :func:`onnx_scope`.
    """
    import onnx

    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {
        value.name: value.type.tensor_type for value in (*inferred.input, *inferred.value_info)
    }
    network = [n for n in model.graph.node if n.name.startswith(scope)]
    start = network[0].input[0]
    # with flip, the images and their mirror images
    batch = types[start].shape.dim[0].dim_param
    names = [n.output[0] for n in network if n.op_type == 'Resize']
    for name in [start, *names] if names else []:
        sides = [dim.dim_value for dim in types[name].shape.dim[1:]]
        model.graph.value_info.append(
            onnx.helper.make_tensor_value_info(name, types[name].elem_type, [batch, *sides])
        )
    onnx.save(model, path)


def store_fp16(model) -> None:
    """Store an ONNX model's weights in float16, to compute in float32.

    Engines widen them when they load the model. Biases, a two-hundredth of the file, stay as they
    are: with batch norms folded into them, their rounding was a third of the error.

    Args:
        model (onnx.ModelProto): Changed in place.
    """
    import onnx
    from onnx import numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        name = weight.name
        array = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(array, f'{name}_fp16'))
        casts.append(
            onnx.helper.make_node('Cast', [f'{name}_fp16'], [name], to=onnx.TensorProto.FLOAT)
        )
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)


def own_biases(model) -> None:
    """Give every convolution a bias of its own.

    The exporter stores equal parameters once and passes them on by Identity.
    A bias in int8 has the scale of its convolution's input, so that ONNX
    Runtime's quantizer leaves convolutions with a shared one in float.

    Args:
        model (onnx.ModelProto): Changed in place.
    """
    graph = model.graph
    parameters = {weight.name: weight for weight in graph.initializer}
    passed_on = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == 'Identity' and node.input[0] in parameters
    }
    for node in passed_on.values():
        graph.node.remove(node)
    seen = set()
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in passed_on:
                node.input[i] = name = passed_on[name].input[0]
            if node.op_type != 'Conv' or i != 2 or name not in parameters:
                continue
            if name in seen:
                copied = copy.deepcopy(parameters[name])
                copied.name = node.input[i] = f'{node.name}.bias'
                graph.initializer.append(copied)
            seen.add(name)

"""Exports against the models that they are of."""

import json
import runpy
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from mmcv.cnn.bricks import ContextBlock
from mmengine.config import Config
from paths import COCO, DETECTOR_CONFIG, LSPET, ROOT
from synthetic import make_lspet
from torch.nn.modules.batchnorm import _BatchNorm

from lpn_mmpose.deploy import export as deploy
from lpn_mmpose.deploy import quantization
from lpn_mmpose.deploy.graphs import SoftArgmax
from lpn_mmpose.deploy.metadata import pose_meta
from lpn_mmpose.deploy.onnx_passes import to_onnx
from lpn_mmpose.deploy.quantization import Part, network_parts
from lpn_mmpose.deploy.rewriting import STYLES, InferenceNetwork, PhaseUpsample
from lpn_mmpose.deploy.verification import check, check_images, check_keypoints, reference
from lpn_mmpose.errors import InputError
from lpn_mmpose.models import LPN, LPNHead
from lpn_mmpose.runtime import topdown
from lpn_mmpose.runtime.engines import load_engine
from lpn_mmpose.runtime.model_meta import (
    KEY,
    DetectionMeta,
    ModelMeta,
    PoseMeta,
)

WEIGHTS = ROOT / 'lpn_mmpose/weights/lpn50_lspet-128x128.pth'
#: LPN-50's blocks at a sixteenth of its work.
SMALL = dict(input_size=(64, 64), heatmap_size=(16, 16))


def enliven(model, images):
    """Give random networks norms and attention that matter."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
        if isinstance(module, ContextBlock):
            torch.nn.init.normal_(module.channel_add_conv[3].weight, std=0.1)
        if isinstance(module, LPNHead):
            torch.nn.init.normal_(module.final_layer.weight, std=0.1)
    with torch.no_grad():
        model.train()(images)
    return model.eval()


class Pose(torch.nn.Module):
    def __init__(self, depth, attention, **kwargs):
        super().__init__()
        self.backbone = LPN(depth, attention=attention, init_cfg=None)
        self.head = LPNHead(512, 17, **kwargs)

    def forward(self, x):
        return self.head(self.backbone(x))


@pytest.mark.parametrize('style', STYLES.values(), ids=list(STYLES))
@pytest.mark.parametrize('attention', ['GC', 'SE', None])
@pytest.mark.parametrize('depth', [50, 101, 152])
def test_every_network_is_rewritten_exactly(depth, attention, style):
    # in double precision: random networks multiply rounding errors
    images = torch.randn(2, 3, 64, 48).double()
    model = enliven(Pose(depth, attention).double(), images)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    network = InferenceNetwork(model, style)
    with torch.no_grad():
        expected, heatmaps = model(images), network(images)
    assert heatmaps.shape == expected.shape == (2, 17, 16, 12)
    assert expected.std() > 1e-3
    torch.testing.assert_close(heatmaps, expected, rtol=0, atol=1e-8)
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    kinds = {type(module).__name__ for module in network.modules()}
    assert not kinds & {'LightweightBottleneck', 'ConvTranspose2d', 'BatchNorm2d', 'ContextBlock'}


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(deconv_kernel_sizes=(2, 3)),
        dict(deconv_out_channels=(384,), deconv_kernel_sizes=(4,)),
        dict(conv_out_channels=(64,), conv_kernel_sizes=(1,)),
        dict(conv_out_channels=(64,), conv_kernel_sizes=(3,)),
        dict(deconv_out_channels=None, deconv_kernel_sizes=None),
    ],
)
@pytest.mark.parametrize('style', STYLES.values(), ids=list(STYLES))
def test_every_head_is_rewritten_exactly(kwargs, style):
    images = torch.randn(2, 3, 64, 48).double()
    model = enliven(Pose(50, None, **kwargs).double(), images)
    with torch.no_grad():
        torch.testing.assert_close(
            InferenceNetwork(model, style)(images), model(images), rtol=0, atol=1e-8
        )


@pytest.mark.parametrize('style', STYLES.values(), ids=list(STYLES))
def test_channels_are_reordered_behind_a_neck(style):
    class Neck(torch.nn.Module):
        def forward(self, feats):
            return [feat * 2 for feat in feats]

    images = torch.randn(2, 3, 64, 48).double()
    model = enliven(Pose(50, 'GC').double(), images)
    model.neck = Neck()
    with torch.no_grad():
        torch.testing.assert_close(
            InferenceNetwork(model, style)(images),
            model.head([model.backbone(images)[-1] * 2]),
            rtol=0,
            atol=1e-8,
        )


@pytest.mark.parametrize('kernel, padding, output_padding', [(4, 1, 0), (3, 1, 1), (2, 0, 0)])
@pytest.mark.parametrize('channels, groups', [((8, 4), 4), ((6, 6), 6), ((6, 4), 2), ((3, 5), 1)])
@pytest.mark.parametrize('style', STYLES.values(), ids=list(STYLES))
def test_phases_of_a_deconvolution(kernel, padding, output_padding, channels, groups, style):
    from mmcv.cnn import ConvModule

    torch.manual_seed(0)
    deconv = ConvModule(
        *channels,
        kernel,
        stride=2,
        padding=padding,
        groups=groups,
        conv_cfg=dict(type='deconv', output_padding=output_padding),
        norm_cfg=dict(type='BN'),
    )
    deconv.norm.momentum = 1.0
    x = torch.randn(2, channels[0], 5, 7)
    with torch.no_grad():
        deconv.train()(x)
        phases = PhaseUpsample(deconv.eval(), [], style)
        assert (phases.order is None) == (channels != (8, 4))
        ordered = x if phases.order is None else x[:, phases.order]
        torch.testing.assert_close(phases(ordered), deconv(x))


@pytest.mark.parametrize('quarter_offset', [True, False])
def test_decoding_in_the_graph_is_that_of_topdown(quarter_offset):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :12]
    peaks = rng.uniform(-1, 16, (4, 5, 2, 1, 1))
    heatmaps = np.exp(-((x - peaks[:, :, 0]) ** 2 + (y - peaks[:, :, 1]) ** 2) / 4)
    heatmaps = (heatmaps + rng.normal(0, 0.01, heatmaps.shape)).astype('f4')
    coords, scores = topdown.soft_argmax(heatmaps, 160.0)
    if quarter_offset:
        coords = topdown.quarter_offset(coords, heatmaps)
    graph = SoftArgmax((12, 16), (4.0, 4.0), 160.0, quarter_offset)
    keypoints, values = graph(torch.from_numpy(heatmaps))
    np.testing.assert_allclose(keypoints, coords * 4, atol=1e-3)
    np.testing.assert_allclose(values, scores, atol=1e-6)


def small_config(path=LSPET, depth=50, attention='GC', **codec):
    cfg = Config.fromfile(path)
    cfg.model.backbone.update(depth=depth, attention=attention)
    cfg.model.head.decoder.update(codec or SMALL)
    return cfg


@pytest.mark.parametrize('format', list(deploy.FORMATS))
def test_each_format_gives_pytorch_s_heatmaps(format, tmp_path):
    out = tmp_path / f'lpn{deploy.FORMATS[format]}'
    result = deploy.export(Config.fromfile(LSPET), str(WEIGHTS), out, format, flip=True)
    assert result.path == out and out.is_file()
    assert 0 < result.difference <= 1e-4 * result.range
    assert sorted(p.name for p in tmp_path.iterdir()) == (
        ['lpn.bin', 'lpn.xml'] if format == 'openvino' else [out.name]
    )
    meta = read_meta(out)
    assert meta == result.meta
    assert (meta.outputs, meta.flip, meta.beta) == ('heatmaps', True, 160.0)
    assert meta.input_size == (128, 128) and meta.heatmap_size == (32, 32)
    # the config's RGB statistics, in the order of the BGR input
    assert meta.mean == (103.53, 116.28, 123.675)
    assert len(meta.keypoint_names) == 14
    mirrored = [meta.keypoint_names[i] for i in meta.flip_indices]
    assert mirrored[0] == 'right_shoulder'
    assert len(meta.skeleton) == len(meta.skeleton_colors) > 10
    # any number of images
    images = check_images(meta, 3)
    (heatmaps,) = load_engine(out, meta.task)(images)
    (alone,) = load_engine(out, meta.task)(images[2:])
    assert heatmaps.shape == (3, 14, 32, 32)
    np.testing.assert_allclose(heatmaps[2:], alone, atol=1e-5)


def read_meta(path):
    if path.suffix == '.onnx':
        properties = {p.key: p.value for p in onnx.load(path).metadata_props}
        return ModelMeta.from_json(properties[KEY])
    import openvino

    model = openvino.Core().read_model(path)
    return ModelMeta.from_json(model.get_rt_info([KEY]).astype(str))


@pytest.mark.parametrize(
    'depth, attention, size',
    [
        (50, 'SE', (192, 256)),
        (101, None, (256, 256)),
        (152, 'GC', (64, 96)),
        (50, 'GC', (288, 384)),
    ],
)
def test_onnx_of_other_models(depth, attention, size, tmp_path):
    cfg = small_config(
        COCO, depth, attention, input_size=size, heatmap_size=(size[0] // 4, size[1] // 4)
    )
    cfg.model.backbone.init_cfg = None
    result = deploy.export(cfg, None, tmp_path / 'a.onnx', batch=1)
    assert result.difference <= 1e-3 * result.range
    assert result.meta.input_size == size
    # trained on BGR with the statistics in RGB's order
    assert result.meta.mean == (123.675, 116.28, 103.53)
    shape = onnx.load(result.path).graph.input[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim] == [1, size[1], size[0], 3]


@pytest.mark.parametrize('flip', [False, True])
def test_sums_are_fused_whatever_the_batch(flip, tmp_path):
    import onnxruntime

    cfg = small_config(LSPET, 50)
    operators = []
    for batch in (1, None):
        path, fused = tmp_path / f'{batch}.onnx', tmp_path / 'fused.onnx'
        deploy.export(cfg, None, path, batch=batch, flip=flip)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(fused)
        onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        nodes = onnx.load(fused).graph.node
        operators.append([sum(n.op_type == kind for n in nodes) for kind in ('Add', 'Relu')])
    assert operators[0] == operators[1]
    # the sum of every block's two branches is in its last convolution
    assert operators[0][0] < 2 * 16


@pytest.mark.parametrize('format', ['onnx', 'openvino'])
def test_fp16_is_half_as_large_and_decodes(format, tmp_path):
    out = tmp_path / f'lpn{deploy.FORMATS[format]}'
    cfg = Config.fromfile(LSPET)
    result = deploy.export(cfg, str(WEIGHTS), out, format, 'fp16', decode=True)
    size = sum(p.stat().st_size for p in tmp_path.iterdir())
    assert size < 6.6e6 and result.megabytes == pytest.approx(size / 1e6)
    images = check_images(result.meta, 2)
    keypoints, scores = load_engine(out, result.meta.task)(images)
    assert keypoints.shape == (2, 14, 2) and scores.shape == (2, 14)
    assert result.difference <= 2e-2 * result.range


@pytest.fixture(scope='module')
def lspet(tmp_path_factory):
    folder = tmp_path_factory.mktemp('lspet')
    make_lspet(folder / 'data/lspet')
    return folder / 'data/lspet'


@pytest.mark.parametrize('format', ['onnx', 'openvino'])
def test_int8_is_calibrated_on_the_training_images(format, lspet, tmp_path, monkeypatch):
    # the stem alone is cheap then, and stays in float
    monkeypatch.setattr('lpn_mmpose.deploy.quantization.MAX_COST', 0.005)
    monkeypatch.setattr('lpn_mmpose.deploy.quantization.MIN_GAIN', -1)
    monkeypatch.setattr('lpn_mmpose.deploy.quantization.MAX_ERROR', 0)
    cfg = Config.fromfile(LSPET)
    cfg.train_dataloader.dataset.data_root = str(lspet)
    out = tmp_path / f'lpn{deploy.FORMATS[format]}'
    result = deploy.export(cfg, str(WEIGHTS), out, format, 'int8', calibration_images=4)
    size = sum(p.stat().st_size for p in tmp_path.iterdir())
    assert size < 4.6e6
    assert result.meta.precision == 'int8'
    in_float = float_convolutions(out)
    assert any('/stem/' in name for name in in_float)
    assert not any('/layer4.1/conv' in name for name in in_float)
    model = deploy.load_model(cfg, str(WEIGHTS))
    crops = quantization.calibration_crops(cfg, result.meta, None, 4)
    assert crops.shape == (4, 128, 128, 3)
    meta = replace(result.meta, precision='fp32')
    (expected,) = reference(model, meta, crops)
    (heatmaps,) = load_engine(out, result.meta.task)(crops)
    error = np.square(heatmaps - expected).mean() / expected.var()
    assert 0 < error < 0.05


def float_convolutions(path):
    """Names of the convolutions whose weights are not stored in int8."""
    if path.suffix == '.onnx':
        graph = onnx.load(path).graph
        plain = {weight.name for weight in graph.initializer}
        return [
            node.name for node in graph.node if node.op_type == 'Conv' and node.input[1] in plain
        ]
    import openvino

    def kinds(node):
        yield node.get_element_type().to_string()
        for value in node.input_values():
            yield from kinds(value.get_node())

    return [
        node.get_friendly_name()
        for node in openvino.Core().read_model(path).get_ops()
        if 'Convolution' in node.get_type_name()
        and 'i8' not in kinds(node.input_value(1).get_node())
    ]


@pytest.fixture(scope='module', params=STYLES)
def traced(request, tmp_path_factory):
    """A small pose model as it is exported: the module, and its ONNX file."""
    model = deploy.load_model(small_config())
    meta = pose_meta(model, False, False, 'fp32')
    graph = deploy.build_graph(model, meta, STYLES[request.param])
    path = tmp_path_factory.mktemp('traced') / 'a.onnx'
    to_onnx(graph, meta.input_size, ['heatmaps'], path, None)
    return graph, onnx.load(path)


def test_parts_hold_every_convolution_once(traced):
    graph, file = traced
    parts = network_parts(file, graph)
    assert {'backbone.stem', 'backbone.layer1', 'backbone.layer4', 'head.2.tail'} < set(parts)
    named = [name for part in parts.values() for name in part.nodes]
    assert len(named) == len(set(named))
    convs = {n.name for n in file.graph.node if n.op_type == 'Conv'}
    assert len(convs) > 50 and convs <= set(named)


def test_a_module_that_no_part_names_is_refused(traced, monkeypatch):
    graph, file = traced
    parts = graph.network.parts()
    monkeypatch.setattr(graph.network, 'parts', lambda: [p for p in parts if p != 'backbone.stem'])
    with pytest.raises(ValueError, match='stem'):
        network_parts(file, graph)


def test_pooling_is_found_in_every_block(traced):
    graph, file = traced
    pooling = [node for node in file.graph.node if quantization.pools(graph, node.name)]
    assert sum(node.op_type == 'Softmax' for node in pooling) == 16
    kinds = {node.op_type for node in pooling}
    assert kinds & {'MatMul', 'ReduceSum'} and 'LayerNormalization' not in kinds


@pytest.mark.parametrize(
    'total, kept',
    [
        (0.1, set()),
        (0.16, {'layer1'}),
        (0.3, {'layer1', 'stem'}),
        (0.9, {'layer1', 'stem'}),
    ],
)
def test_parts_stay_in_float_until_the_error_is_small(total, kept, monkeypatch):
    # shares of the squared error; the largest part is too expensive
    shares = dict(stem=0.3, layer1=0.5, layer2=0.1, layer4=0.1)
    parts = {name: Part([name], 10) for name in shares}
    parts['layer4'].weights = 1000
    expected = np.array([-1.0, 1.0])

    def outputs(in_float):
        left = 1 - sum(shares[name] for name in in_float)
        return expected + total * left**0.5

    monkeypatch.setattr(quantization, 'MAX_ERROR', 0.12)
    assert quantization.sensitive_parts(outputs, parts, expected) == kept


def test_calibration_on_a_folder(lspet):
    cfg = Config.fromfile(LSPET)
    meta = PoseMeta(input_size=(96, 128), mean=(), std=(), dataset='', version='')
    crops = quantization.calibration_crops(cfg, meta, str(lspet / 'images'), 3)
    assert crops.shape == (3, 128, 96, 3) and crops.std() > 10
    for folder, message in ((lspet / 'none', 'no folder'), (lspet / 'annotations', 'no image')):
        with pytest.raises(InputError, match=message):
            quantization.calibration_crops(cfg, meta, str(folder), 3)
    with pytest.raises(InputError, match='--calib DIR'):
        quantization.calibration_crops(cfg, meta, None, 3)


def test_detector(tmp_path):
    result = deploy.export(Config.fromfile(DETECTOR_CONFIG), None, tmp_path / 'det.onnx')
    meta = read_meta(result.path)
    assert isinstance(meta, DetectionMeta)
    assert meta.input_size == (320, 320) and meta.pad_value == 114
    assert (meta.score_thr, meta.iou_thr) == (0.05, 0.6)
    boxes, scores = load_engine(result.path, meta.task)(check_images(meta, 2))
    assert boxes.shape == (2, 2100, 4) and scores.shape == (2, 2100)
    assert result.difference <= 1e-3 * result.range


def test_a_wrong_graph_is_refused():
    meta = PoseMeta(input_size=(8, 8), mean=(), std=(), dataset='', version='')
    expected = [np.linspace(0, 2, 16).reshape(1, 1, 4, 4)]
    assert check([expected[0] + 1e-3], expected, meta) == (pytest.approx(1e-3), 2)
    with pytest.raises(InputError, match='nothing was written'):
        check([expected[0] + 3e-3], expected, meta)
    with pytest.raises(InputError, match='nothing was written'):
        check([expected[0] * np.nan], expected, meta)
    points, moved = np.zeros((2, 1, 10, 2))
    check_keypoints(points, moved)
    moved[0, 0] = 1
    with pytest.raises(InputError, match='1 of 10 keypoints'):
        check_keypoints(points, moved)


@pytest.mark.parametrize(
    'options, message',
    [
        (['-o', 'a.xml'], 'a.xml must end in .onnx'),
        (['--batch', '0', '-o', 'a.onnx'], 'positive'),
        (['--batch', '4', '--precision', 'int8', '-o', 'a.onnx'], '--batch dynamic or 1'),
        (
            [
                '--cfg-options',
                'model.head.decoder.type=UDPHeatmap',
                'model.head.decoder.heatmap_type=gaussian',
                '-o',
                'a.onnx',
            ],
            'UDPHeatmap',
        ),
        (['--cfg-options', 'model.backbone.depth=101', '-o', 'a.onnx'], 'another model'),
    ],
)
def test_tool_says_in_one_line_what_is_wrong(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tool = ROOT / 'tools/deployment/export.py'
    monkeypatch.setattr(sys, 'argv', ['export.py', str(LSPET), str(WEIGHTS), *options])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name='__main__')
    assert end.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('error:') and message in line
    assert not list(tmp_path.iterdir())


def test_metadata_survives_json():
    meta = PoseMeta(
        input_size=(192, 256),
        mean=(1.0, 2.0, 3.0),
        std=(1.0, 1.0, 1.0),
        dataset='coco',
        version='1',
        heatmap_size=(48, 64),
        beta=160.0,
        keypoint_names=('a', 'b'),
        flip_indices=(1, 0),
        skeleton=((0, 1),),
    )
    assert ModelMeta.from_json(meta.to_json()) == meta
    content = json.loads(meta.to_json())
    content['added_later'] = 1
    assert ModelMeta.from_json(json.dumps(content)) == meta
    for broken, message in (
        ('{}', 'not the metadata'),
        ('x', 'not the'),
        (json.dumps(dict(content, format=99)), 'upgrade'),
        (json.dumps(dict(content, task='x')), 'unknown'),
    ):
        with pytest.raises(ValueError, match=message):
            ModelMeta.from_json(broken)

"""One picture in every path that reads images: what one sees."""

import argparse
import json

import cv2
import mmcv
import numpy as np
import pictures
import pytest
import tiny_models
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.apis import MMPoseInferencer
from mmpose.registry import TRANSFORMS
from mmpose.structures import PoseDataSample
from paths import ROOT
from PIL import Image, ImageOps
from synthetic import make_all

from lpn_mmpose.analysis.contact_sheet import draw_persons
from lpn_mmpose.analysis.predictions import EvaluatedPersons
from lpn_mmpose.apis import demo
from lpn_mmpose.datasets.data_check import check_split
from lpn_mmpose.deploy.quantization import calibration_crops
from lpn_mmpose.models import ExportedPoseEstimator
from lpn_mmpose.runtime import PoseRuntime, topdown
from lpn_mmpose.runtime.media import FrameReader, find_inputs, read_image

LPN = ROOT / 'configs/body_2d_keypoint/lpn'
COCO = LPN / 'coco/td-hm_lpn50_8xb32-150e_coco-256x192.py'
LSPET = LPN / 'lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'
BOX = (10, 15, 70, 75)


@pytest.fixture(scope='module')
def image():
    return tiny_models.scene([BOX], (80, 90))[0]


@pytest.fixture(params=pictures.STORED)
def photograph(request, image, tmp_path):
    """A photograph, and it again as a file without orientation."""
    path = pictures.photograph(tmp_path / 'photo.jpg', image, request.param)
    plain = tmp_path / 'plain.png'
    cv2.imwrite(str(plain), read_image(path))
    return path, plain


@pytest.fixture(scope='module')
def tiny_pose(tmp_path_factory):
    return tiny_models.save_pose(tmp_path_factory.mktemp('pose') / 'pose.onnx')


@pytest.fixture(scope='module')
def inferencer():
    """Of a config whose test data are read as the camera stored them."""
    return MMPoseInferencer(str(COCO), det_model='whole_image', device='cpu')


def load_image(path, **kwargs):
    return TRANSFORMS.build(dict(type='LoadImage', **kwargs))(dict(img_path=str(path)))['img']


def test_training_and_tests_of_exported_models(photograph, tiny_pose):
    path, plain = photograph
    seen = read_image(path)
    assert seen.shape == (90, 80, 3)
    np.testing.assert_array_equal(load_image(path), seen)
    stored = load_image(path, color_type='color_ignore_orientation')
    np.testing.assert_array_equal(read_image(path, ignore_orientation=True), stored)

    def test_step(**kwargs):
        sample = PoseDataSample(metainfo=dict(img_path=str(path)))
        sample.gt_instances = InstanceData(
            bboxes=np.float32([[0, 0, 80, 80]]), bbox_scores=np.ones(1)
        )
        model = ExportedPoseEstimator(str(tiny_pose), **kwargs)
        return model.test_step(dict(data_samples=[sample]))[0].pred_instances.keypoints

    pose = PoseRuntime(tiny_pose)
    np.testing.assert_array_equal(test_step(), pose(plain, [[0, 0, 80, 80]])[0])
    expected = pose(np.ascontiguousarray(stored), [[0, 0, 80, 80]])[0]
    np.testing.assert_array_equal(test_step(ignore_orientation=True), expected)


def test_drawing_and_calibration(photograph):
    path, plain = photograph
    points = tiny_models.scene([BOX], (80, 90))[1]
    names = list(tiny_models.NAMES)

    def sheet(path, **kwargs):
        persons = EvaluatedPersons(
            names,
            np.arange(6),
            points,
            points + 1,
            np.ones((1, 6), bool),
            np.ones(1),
            'bbox',
            np.float32([BOX]),
            [str(path)],
            [1],
            **kwargs,
        )
        meta = dict(
            keypoint_colors=np.zeros((6, 3)), skeleton_links=[], skeleton_link_colors=np.zeros(0)
        )
        return draw_persons(persons, meta, [0], [''])[18:]

    np.testing.assert_array_equal(sheet(path), sheet(plain))
    stored = plain.with_name('stored.png')
    cv2.imwrite(str(stored), read_image(path, ignore_orientation=True))
    np.testing.assert_array_equal(sheet(path, ignore_orientation=True), sheet(stored))

    meta = tiny_models.pose_meta()
    plain.unlink()
    stored.unlink()
    (crop,) = calibration_crops(Config(), meta, str(path.parent), 9)
    seen = read_image(path)
    center, scale = topdown.boxes_to_center_scale(
        np.array([[0, 0, 80, 90]]), meta.input_size, meta.bbox_padding
    )
    np.testing.assert_array_equal(crop, topdown.crop(seen, center, scale, meta.input_size)[0])


def test_inferencer(photograph, inferencer):
    path, plain = photograph
    result, expected = (next(inferencer(str(p), return_vis=True)) for p in (path, plain))
    json.dumps(result['predictions'])
    (person,), (wanted,) = (r['predictions'][0] for r in (result, expected))
    assert np.ravel(person['bbox']).tolist() == [0, 0, 80, 90]
    np.testing.assert_allclose(person['keypoints'], wanted['keypoints'])
    np.testing.assert_array_equal(result['visualization'][0], expected['visualization'][0])


@pytest.mark.parametrize('angle', pictures.TURNED)
def test_videos_of_the_inferencer(image, angle, tmp_path):
    path = pictures.film(tmp_path / 'phone.mp4', [image] * 2, angle)
    video = mmcv.VideoReader(str(path))
    assert video.resolution == (80, 90)
    frames = list(FrameReader(find_inputs(path)[0]))
    np.testing.assert_array_equal(np.stack(list(video)), np.stack(frames))
    assert frames[0].shape == (90, 80, 3)


def test_demo(image, tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    (folder / 'sub').mkdir(parents=True)
    pictures.photograph(folder / 'sub/photo.jpg', image, 6)
    pictures.photograph(folder / 'photo.webp', image, 5)
    pictures.film(folder / 'film.mov', [image] * 2, 90, fps=119.88)
    cv2.imwrite(str(folder / 'deep.png'), image.astype(np.uint16) * 257)
    (folder / 'apple.heic').write_bytes(b'')
    args = argparse.Namespace(
        input=str(folder),
        out_dir=str(out),
        model='lpn50-lsp',
        weights=None,
        det_model='whole_image',
        det_weights=None,
        device='cpu',
    )
    lines, status = demo.run(args)
    assert status == 1 and lines[-1] == 'files: 4 done, 1 skipped'
    assert [line for line in lines if 'apple.heic' in line and line.startswith('skipped')]
    found = {}
    for name in ('sub/photo.json', 'photo.json', 'deep.json', 'film.json'):
        content = json.loads((out / name).read_text())
        found[name] = content[0]['instances'] if name == 'film.json' else content
        assert found[name][0]['bbox'] == [[0, 0, 80, 90]]
    for name in ('sub/photo.jpg', 'photo.webp', 'deep.png', 'film.mp4'):
        assert cv2.VideoCapture(str(out / name)).read()[1].shape == (90, 80, 3)


@pytest.mark.parametrize('config', [COCO, LSPET], ids=['as stored', 'upright'])
def test_check_data(config, tmp_path, monkeypatch):
    """The annotated size is that of what training reads: of COCO's config as it is stored."""
    make_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(config)
    dataset = cfg.val_dataloader.dataset
    root = tmp_path / dataset.data_root
    annotations = json.loads((root / dataset.ann_file).read_text())
    path = root / dataset.data_prefix.img / annotations['images'][0]['file_name']
    upright = read_image(path)
    assert not check_split(cfg, 'val').problems

    # the camera lay on its side, and the annotations are of the picture as one sees it
    pictures.photograph(path, upright, 6)
    problems = check_split(cfg, 'val').problems
    if config == LSPET:
        assert not problems
    else:
        height, width = upright.shape[:2]
        (message,) = problems['images of another size than annotated']
        assert f'{height}x{width}, annotated {width}x{height}' in message

    # the annotations are of the picture as it is stored
    pictures.photograph(path, np.ascontiguousarray(np.rot90(upright, -1)), 6)
    problems = check_split(cfg, 'val').problems
    assert bool(problems['images of another size than annotated']) == (config == LSPET)


@pytest.mark.parametrize(
    'write, message',
    [
        (lambda path, image: moving_png(path, image), 'is animated'),
        (lambda path, image: cv2.imwrite(f'{path}.tif', np.float32(image / 255)), 'cannot'),
        (lambda path, image: deep_png(path, image), 'black'),
    ],
    ids=['animated', 'floats', '12 bits'],
)
def test_check_data_finds_pictures_that_are_read_wrong(write, message, tmp_path, monkeypatch):
    cfg, path = replaced_picture(write, tmp_path, monkeypatch)
    (problem,) = check_split(cfg, 'val').problems['unreadable images']
    assert path.name in problem and message in problem


def test_check_data_knows_whether_training_turns_webp(tmp_path, monkeypatch):
    """OpenCV does from 4.12 on."""
    cfg, path = replaced_picture(
        lambda path, image: pictures.photograph(path.with_suffix('.webp'), image, 3),
        tmp_path,
        monkeypatch,
    )
    turned = np.array_equal(load_image(path), read_image(path))
    problems = check_split(cfg, 'val').problems['unreadable images']
    assert len(problems) == (0 if turned else 1)
    assert turned or 'another' in problems[0]


def replaced_picture(write, tmp_path, monkeypatch):
    """Write another file under the name of the first photograph of LSP's validation."""
    make_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(LSPET)
    dataset = cfg.val_dataloader.dataset
    annotations = json.loads((tmp_path / dataset.data_root / dataset.ann_file).read_text())
    folder = tmp_path / dataset.data_root / dataset.data_prefix.img
    path = folder / annotations['images'][0]['file_name']
    image = read_image(path)
    path.unlink()
    write(path.with_suffix(''), image)
    (other,) = [p for p in folder.iterdir() if p.stem == path.stem or p.stem == path.name]
    other.rename(path)
    return cfg, path


def deep_png(path, image):
    cv2.imwrite(f'{path}.png', image[..., 0].astype(np.uint16) * 9)


def moving_png(path, image):
    Image.fromarray(image).save(
        path.with_suffix('.png'), save_all=True, append_images=[Image.fromarray(255 - image)]
    )


def test_pil_images(image, tiny_pose, tmp_path):
    pose = PoseRuntime(tiny_pose)
    expected, _ = pose(image)
    picture = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    np.testing.assert_array_equal(pose(picture)[0], expected)
    (first, _), (second, _) = pose([picture, image])
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(pose(picture.convert('RGBA'))[0], expected)
    grey = np.dstack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)] * 3)
    deep = Image.fromarray(grey[..., 0].astype(np.uint16) * 257)
    for other in (
        Image.fromarray(grey[..., 0]),
        deep,
        Image.fromarray(grey[..., 0] / np.float32(255)),
    ):
        np.testing.assert_array_equal(pose(other)[0], pose(grey)[0])

    path = pictures.photograph(tmp_path / 'photo.jpg', image, 6)
    with pytest.raises(ValueError, match='exif_transpose'):
        pose(Image.open(path))
    upright = ImageOps.exif_transpose(Image.open(path))
    np.testing.assert_allclose(pose(upright)[0], pose(path)[0], atol=0.5)
    path = pictures.photograph(tmp_path / 'photo.jpg', image, 0)  # says nothing
    np.testing.assert_allclose(pose(Image.open(path))[0], pose(path)[0], atol=0.5)


@pytest.mark.parametrize('suffix, most', [('.jpg', 4), ('.tif', 0)])
def test_cmyk(tmp_path, suffix, most):
    colours = np.array([[200, 30, 40], [20, 180, 60], [30, 40, 210]], np.uint8)
    picture = np.repeat(np.tile(colours, (32, 1, 1)), 16, axis=1)
    path = tmp_path / f'print{suffix}'
    Image.fromarray(picture).convert('CMYK').save(path)
    found = read_image(path)[16, 8::16, ::-1]
    assert np.abs(found.astype(int) - colours).max() <= most

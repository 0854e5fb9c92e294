"""What is read is what one sees, or it is refused."""

import os
import resource
import struct

import cv2
import numpy as np
import pictures
import pytest

from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime.media import (
    FrameReader,
    VideoWriter,
    decode_image,
    find_inputs,
    list_files,
    read_image,
    to_uint8,
    write_image,
)

SIZE = (64, 48)


@pytest.fixture(scope='module')
def image():
    """Four patches of other colours, which no turn or mirror leaves as they are."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[:24, 32:] = (200, 40, 20), (30, 180, 60)
    image[24:, :32], image[24:, 32:] = (20, 30, 220), (230, 230, 230)
    return image


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_photographs_are_upright(image, suffix, orientation, tmp_path):
    path = pictures.photograph(tmp_path / f'photo{suffix}', image, orientation)
    seen = read_image(path)
    assert seen.shape == image.shape and seen.flags.c_contiguous
    # compression blurs edges and colours, a turn moves whole patches
    assert np.abs(seen.astype(int) - image).mean() < 12
    stored = read_image(path, ignore_orientation=True)
    assert np.abs(stored.astype(int) - pictures.STORED[orientation](image)).mean() < 12


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
def test_content_that_is_no_file_is_read_alike(image, suffix, tmp_path):
    path = pictures.photograph(tmp_path / f'photo{suffix}', image, 6)
    content = path.read_bytes()
    np.testing.assert_array_equal(decode_image(content, 's3://bucket/photo'), read_image(path))
    with pytest.raises(InputError, match='s3://bucket/photo cannot be read as an image'):
        decode_image(content[:20], 's3://bucket/photo')


@pytest.mark.parametrize('angle', pictures.TURNED)
def test_videos_are_upright(image, angle, tmp_path):
    path = pictures.film(tmp_path / 'phone.mp4', [image] * 3, angle)
    (item,) = find_inputs(path)
    frames = list(FrameReader(item))
    assert len(frames) == 3
    for frame in frames:
        assert frame.shape == image.shape
        assert np.abs(frame.astype(int) - image).mean() < 20


def test_pixels_of_other_kinds(image, tmp_path):
    def read(name, array, *params):
        cv2.imwrite(str(tmp_path / name), array, params)
        return read_image(tmp_path / name).astype(int)

    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    alpha = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    raw = (cv2.IMWRITE_TIFF_COMPRESSION, 1)
    for name in ('16.png', '16.tif'):
        np.testing.assert_array_equal(read(name, image.astype(np.uint16) * 257), image)
    np.testing.assert_array_equal(read('grey.png', grey), np.dstack([grey] * 3))
    np.testing.assert_array_equal(
        read('grey16.png', grey.astype(np.uint16) * 257), np.dstack([grey] * 3)
    )
    np.testing.assert_array_equal(read('alpha.png', alpha), image)
    np.testing.assert_allclose(read('float.tif', np.float32(image / 255), *raw), image, atol=1)


def palette_png(pixels, palette, alphas):
    height, width = pixels.shape
    rows = b''.join(b'\0' + row.tobytes() for row in pixels)
    return (
        b'\x89PNG\r\n\x1a\n'
        + pictures.png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 3, 0, 0, 0))
        + pictures.png_chunk(b'PLTE', palette.tobytes())
        + pictures.png_chunk(b'tRNS', bytes(alphas))
        + pictures.png_chunk(b'IDAT', pictures.zlib.compress(rows))
        + pictures.png_chunk(b'IEND', b'')
    )


def test_palette_with_transparency(tmp_path):
    palette = np.array([[200, 40, 20], [30, 180, 60], [250, 250, 250]], np.uint8)
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
    (tmp_path / 'a.png').write_bytes(palette_png(pixels, palette, [255, 0, 128]))
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png')[..., ::-1], palette[pixels])


@pytest.mark.parametrize(
    'array, message',
    [
        (np.full((4, 4, 3), 4095, np.uint16), 'largest value is 4095 would be nearly black'),
        (np.full((4, 4, 3), 3.5, np.float32), 'floats in'),
        (np.full((4, 4, 3), np.nan, np.float32), 'floats in'),
        (np.full((4, 4, 3), -1.0, np.float32), 'floats in'),
        (np.full((4, 4, 3), 7, np.int32), 'int32 from 7 to 7'),
    ],
)
def test_values_that_are_refused(array, message):
    with pytest.raises(ValueError, match=message):
        to_uint8(array)


def test_files_that_are_refused(image, tmp_path):
    png = pictures.encoded('.png', image)
    frames = pictures.png_chunk(b'acTL', struct.pack('>II', 2, 0))
    frame = pictures.riff_chunk(b'ANMF', bytes(16))
    files = {
        'moving.png': (png[:33] + frames + png[33:], 'is animated'),
        'moving.webp': (pictures.webp(image, 2, frame, frame), 'is animated'),
        'gif.jpg': (b'GIF89a' + bytes(20), 'is animated'),
        'apple.heic': (b'\0\0\0\x18ftypheic' + bytes(20), 'convert it to JPEG'),
        'empty.jpg': (b'', 'cannot be read as an image'),
        'cut.webp': (b'RIFF\x10\0\0\0WEBPVP8 ', 'cannot be read as an image'),
        'deep.png': (
            cv2.imencode('.png', np.full((9, 9, 3), 1000, np.uint16))[1].tobytes(),
            'nearly black',
        ),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f'{name}.*{message}'):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match='none.jpg does not exist'):
        read_image(tmp_path / 'none.jpg')
    with pytest.raises(InputError, match='cannot be read: Is a directory'):
        read_image(tmp_path)


def test_one_picture_in_an_animated_format_is_a_picture(image, tmp_path):
    png = pictures.encoded('.png', image)
    one = pictures.png_chunk(b'acTL', struct.pack('>II', 1, 0))
    (tmp_path / 'a.png').write_bytes(png[:33] + one + png[33:])
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), image)


@pytest.mark.parametrize('fps', [29.97002997, 90.00090001, 119.88012, 0.5, 240, 999.0])
def test_any_frame_rate_is_written(image, fps, tmp_path):
    """MPEG-4 refuses 90.00090001 and 119.88012 as OpenCV gives them."""
    with VideoWriter(tmp_path / 'a.mp4', fps) as video:
        for _ in range(4):
            video.write(image)
    reader = FrameReader(find_inputs(tmp_path / 'a.mp4')[0])
    assert len(list(reader)) == 4
    assert reader.fps == pytest.approx(fps, rel=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']


def test_video_that_failed_leaves_nothing(image, tmp_path):
    with pytest.raises(KeyError), VideoWriter(tmp_path / 'a.mp4', 10) as video:
        video.write(image)
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_full_disk(tmp_path):
    """A limit of the files' size fails as a full disk does, in the middle of a file."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match='File too large'):
            write_image(tmp_path / 'a.png', noise)
        video = VideoWriter(tmp_path / 'a.mp4', 9)
        with pytest.raises(OSError, match='0 of 9 frames'), video:
            for _ in range(9):
                video.write(noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_what_a_folder_stands_for(image, tmp_path):
    out = tmp_path / 'in/out'
    for name in (
        'a.jpg',
        'b.JPG',
        'b.mp4',
        'sub/a.jpg',
        'c.jpg.png',
        'c.jpg',
        'c.gif',
        'old.wmv',
        'apple.heic',
        'notes.txt',
        '.hidden.jpg',
        '.cache/a.jpg',
        'out/a.jpg',
    ):
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    inputs = {item.name: item for item in find_inputs(tmp_path / 'in', out)}
    assert {name: item.key for name, item in inputs.items()} == {
        'a.jpg': 'a',
        'apple.heic': 'apple',
        'b.JPG': 'b.JPG',
        'b.mp4': 'b.mp4',
        'c.gif': 'c.gif',
        'c.jpg': 'c.jpg',
        'c.jpg.png': 'c.jpg.png',
        'old.wmv': 'old',
        'sub/a.jpg': 'sub/a',
    }
    assert {name for name, item in inputs.items() if item.frames} == {'b.mp4', 'c.gif', 'old.wmv'}
    assert inputs['old.wmv'].picture(out) == out / 'old.mp4'
    assert inputs['b.JPG'].picture(out) == out / 'b.JPG.JPG'
    assert inputs['apple.heic'].picture(out) == out / 'apple.png'
    pictures_of_all = {item.picture(out) for item in inputs.values()}
    assert len(pictures_of_all) == len(inputs)


def test_locked_folder(tmp_path, monkeypatch):
    (tmp_path / 'a.jpg').write_bytes(b'')

    def scandir(path):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(os, 'scandir', scandir)
    with pytest.raises(InputError, match=f'{tmp_path} cannot be read: Permission denied'):
        list_files(tmp_path, ('.jpg',))


def test_linked_folders_count_once(tmp_path):
    folder, elsewhere = tmp_path / 'in', tmp_path / 'disk'
    for name in ('in/a.png', 'in/sub/b.png', 'disk/c.png', 'disk/.d.png'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'')
    try:
        (folder / 'a_link').symlink_to(elsewhere)
    except OSError:
        pytest.skip('this system has no links')
    (folder / 'again').symlink_to(elsewhere)
    (folder / 'loop').symlink_to(folder)
    (elsewhere / 'back').symlink_to(folder / 'sub')
    names = [p.relative_to(folder).as_posix() for p in list_files(folder, ('.png',))]
    assert names == ['a.png', 'a_link/c.png', 'sub/b.png']
    # the results' folder stays out however it is reached
    (folder / 'old').symlink_to(tmp_path / 'out')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/e.png').write_bytes(b'')
    assert len(list_files(folder, ('.png',), tmp_path / 'out')) == 3
    assert len(list_files(folder, ('.png',))) == 4

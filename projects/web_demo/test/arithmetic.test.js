/** Crop, decode and detection, beside the package on the same inputs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decodeYolox, letterbox } from '../src/detector.js';
import { readMetadata } from '../src/metadata.js';
import { boxToCenterScale, crop, decode, keypointsToBox } from '../src/topdown.js';
import { reference, unpack, unpackImage } from './python.js';

const { image, cases, yolox, detections } = reference('topdown');

/** Assert that nested arrays are equal up to a tolerance. */
function close(actual, expected, tolerance) {
  const [a, b] = [actual, expected].map((array) => array.flat(Infinity));
  assert.equal(a.length, b.length);
  a.forEach((value, i) => assert.ok(Math.abs(value - b[i]) <= tolerance,
    `${value} is not ${b[i]}`));
}

test('keypoints are those of the package, to 0.01 px', () => {
  for (const { box, input_size, padding, heatmap_size, heatmaps, results } of cases) {
    const place = boxToCenterScale(box, input_size, padding);
    for (const [name, expected] of Object.entries(results)) {
      const [codec, quarter] = name.split(' ');
      const meta = { outputs: 'heatmaps', codec, heatmap_size, input_size,
        beta: 160, quarter_offset: quarter === 'True',
        keypoint_names: expected.scores.map(String) };
      const { keypoints, scores } = decode(
        { heatmaps: unpack(heatmaps, Float32Array) }, meta, place);
      close(keypoints, expected.keypoints, 0.01);
      close(scores, expected.scores, 0);
    }
  }
});

test('keypoints that the graph has decoded are mapped to the image', () => {
  const meta = { outputs: 'keypoints', input_size: [192, 256],
    keypoint_names: ['a', 'b'] };
  const place = { center: [100, 50], scale: [96, 128] };
  const outputs = { keypoints: Float32Array.of(0, 0, 192, 128),
    scores: Float32Array.of(0.25, 0.5) };
  assert.deepEqual(decode(outputs, meta, place),
    { keypoints: [[52, -14], [148, 50]], scores: [0.25, 0.5] });
});

test('crops are those of OpenCV, bit for bit', () => {
  const picture = unpackImage(image);
  for (const { box, input_size, padding, crop: expected } of cases) {
    const place = boxToCenterScale(box, input_size, padding);
    for (const order of ['bgr', 'rgb']) {
      const out = new Uint8Array(input_size[0] * input_size[1] * 3);
      crop(picture, place, input_size, order, out);
      if (order === 'rgb') {
        for (let i = 0; i < out.length; i += 3) out.subarray(i, i + 3).reverse();
      }
      assert.ok(Buffer.from(out).equals(Buffer.from(unpack(expected))));
    }
  }
});

test('the box around keypoints is that of the package', () => {
  for (const { points, points_box } of cases) {
    close(keypointsToBox(points, [143, 97], 0.1), points_box, 1e-9);
  }
});

test('boxes without a size and heatmaps with NaN are refused', () => {
  for (const box of [[5, 5, 5, 9], [0, 0, NaN, 3], [0, 0, Infinity, 3]]) {
    assert.throws(() => boxToCenterScale(box, [192, 256], 1.25), /x1 < x2/);
  }
  const meta = { outputs: 'heatmaps', codec: 'BetaSoftArgmaxHeatmap', beta: 160,
    heatmap_size: [2, 2], input_size: [8, 8], keypoint_names: ['a'] };
  for (const bad of [NaN, Infinity]) {
    assert.throws(() => decode({ heatmaps: Float32Array.of(0, bad, 1, 0) }, meta,
      { center: [4, 4], scale: [8, 8] }), /NaN/);
  }
});

/** Return what a YOLOX of 416x416 pixels gives whose graph decodes the boxes. */
function decodedByGraph(output) {
  const rows = output.slice();
  let at = 0;
  for (const stride of [8, 16, 32]) {
    const side = 416 / stride;
    for (let cell = 0; cell < side * side; cell++, at += 85) {
      rows[at] = (rows[at] + cell % side) * stride;
      rows[at + 1] = (rows[at + 1] + Math.floor(cell / side)) * stride;
      rows[at + 2] = Math.exp(rows[at + 2]) * stride;
      rows[at + 3] = Math.exp(rows[at + 3]) * stride;
    }
  }
  return rows;
}

test('the detector sees what OpenCV resizes, and its boxes are the same', () => {
  const output = unpack(yolox, Float32Array);
  for (const { image: packed, letterbox: expected, boxes, scores } of detections) {
    const picture = unpackImage(packed);
    const planes = letterbox(picture, [416, 416]);
    const bgr = unpack(expected);
    const area = 416 * 416;
    assert.ok(bgr.every((value, i) =>
      planes[(i % 3) * area + Math.floor(i / 3)] === value));
    const found = decodeYolox(output, 85, [416, 416], picture,
      { scoreThr: 0.3, iouThr: 0.3 });
    assert.ok(found.length > 10);
    close(found.map(({ box }) => box), boxes, 0.01);
    close(found.map(({ score }) => score), scores, 1e-6);
    const inPixels = decodeYolox(decodedByGraph(output), 85, [416, 416], picture,
      { scoreThr: 0.3, iouThr: 0.3 });
    close(inPixels.map(({ box }) => box), boxes, 0.05);
  }
});

test('metadata are read from the file; other files are refused', () => {
  const model = new Uint8Array(readFileSync(
    new URL('../dist/models/pose.onnx', import.meta.url)));
  const meta = readMetadata(model);
  assert.equal(meta.task, 'pose');
  assert.equal(meta.keypoint_names.length, meta.keypoint_colors.length);
  assert.throws(() => readMetadata(model.subarray(0, 5000)), /damaged/);
  assert.throws(() => readMetadata(new TextEncoder().encode('<html></html>')),
    /not an ONNX file/);
  // field 14 of {1: 'lpn_mmpose', 2: '{"format": 99}'}
  const entry = [10, 10, ...Buffer.from('lpn_mmpose'),
    18, 14, ...Buffer.from('{"format": 99}')];
  assert.throws(() => readMetadata(Uint8Array.of(114, entry.length, ...entry)),
    /format 99/);
  assert.equal(readMetadata(new Uint8Array()), null);
});

/** Persons' boxes from a YOLOX graph, with or without decoding in it. */
import { rint } from './topdown.js';

const f32 = Math.fround;

const STRIDES = [8, 16, 32];
const PERSON = 5; // column of the person's score, after box and objectness
const MAX_BOXES = 100; // as the package's PersonDetector

/** Return the network's input size [w, h], or throw if it is no YOLOX. */
export function yoloxSize({ inputMetadata: [input], outputMetadata: [output] }) {
  const [, channels, height, width] = input.shape;
  const rows = STRIDES.reduce(
    (sum, stride) => sum + (height / stride) * (width / stride), 0);
  const [, anchors, columns] = output.shape;
  if (input.type !== 'float32' || channels !== 3 || anchors !== rows ||
      !(columns > PERSON)) {
    const list = ({ type, shape }) => `${type} [${shape}]`;
    throw new Error('a detector must be YOLOX without NMS, such as ' +
      'float32 [1,3,416,416] to float32 [1,3549,85]; this file is ' +
      `${list(input)} to ${list(output)}`);
  }
  return [width, height];
}

/** Return by what YOLOX multiplies the image's sides before it cuts them to whole pixels. */
function resizeFactor({ width, height }, size) {
  return Math.min(size[0] / width, size[1] / height);
}

/**
 * Resize an image bilinearly into the top left, the rest 114. Equal to
 * OpenCV's `resize` bit for bit, with its weights of 11 bits: a box that is off
 * by half a pixel can turn an uncertain keypoint to the other side.
 *
 * @param {ImageData} image
 * @param {number[]} size [w, h] of the network's input
 * @returns {Float32Array} BGR planes, (3, h, w)
 */
export function letterbox({ data, width, height }, size) {
  const area = size[0] * size[1];
  const planes = new Float32Array(3 * area).fill(114);
  const factor = resizeFactor({ width, height }, size);
  const resized = [width, height].map((side) => Math.max(Math.floor(side * factor), 1));
  const [across, down] = [width, height].map((side, axis) => {
    const [near, far, nearWeight, farWeight] = [1, 2, 3, 4].map(
      () => new Int32Array(resized[axis]));
    for (let i = 0; i < resized[axis]; i++) {
      const at = f32((i + 0.5) * (side / resized[axis]) - 0.5);
      const low = Math.floor(at);
      near[i] = Math.min(Math.max(low, 0), side - 1);
      far[i] = Math.min(Math.max(low + 1, 0), side - 1);
      nearWeight[i] = rint(f32(1 - f32(at - low)) * 2048);
      farWeight[i] = rint(f32(at - low) * 2048);
    }
    return { near, far, nearWeight, farWeight };
  });
  for (let y = 0; y < resized[1]; y++) {
    const [top, bottom] = [down.near[y] * width, down.far[y] * width];
    const [topWeight, bottomWeight] = [down.nearWeight[y], down.farWeight[y]];
    for (let x = 0; x < resized[0]; x++) {
      const [near, far] = [across.near[x], across.far[x]];
      const [left, right] = [across.nearWeight[x], across.farWeight[x]];
      for (let channel = 0; channel < 3; channel++) {
        const high = data[(top + near) * 4 + channel] * left +
          data[(top + far) * 4 + channel] * right;
        const low = data[(bottom + near) * 4 + channel] * left +
          data[(bottom + far) * 4 + channel] * right;
        planes[(2 - channel) * area + y * size[0] + x] =
          (topWeight * (high >> 4) >> 16) + (bottomWeight * (low >> 4) >> 16) +
          2 >> 2;
      }
    }
  }
  return planes;
}

export function iou(a, b) {
  const shared = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0) *
    Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return shared / Math.max(area(a) + area(b) - shared, 1e-9);
}

/** Yield the first value, the cell and the stride of each of YOLOX's rows. */
function* rowsOf(columns, size) {
  let at = 0;
  for (const stride of STRIDES) {
    for (let y = 0; y < size[1] / stride; y++) {
      for (let x = 0; x < size[0] / stride; x++, at += columns) {
        yield [at, x, y, stride];
      }
    }
  }
}

/**
 * Tell whether YOLOX's rows are boxes in pixels already, as the package does:
 * centres in pixels follow the grid; offsets in cells are small everywhere.
 */
export function isDecoded(output, columns, size) {
  let [pixels, cells] = [0, 0];
  for (const [at, x, y, stride] of rowsOf(columns, size)) {
    [x, y].forEach((cell, i) => {
      pixels += Math.abs(output[at + i] - (cell + 0.5) * stride);
      cells += Math.abs(output[at + i] - 0.5);
    });
  }
  return pixels < cells;
}

/**
 * Turn YOLOX's output into persons' boxes in the image.
 *
 * @param {Float32Array} output (A, columns)
 * @param {number} columns
 * @param {number[]} size [w, h] of the network's input
 * @param {ImageData} image
 * @param {{scoreThr: number, iouThr: number}} thresholds boxes that do not
 *   score more, and boxes that overlap a better one more, are left out
 * @returns {{box: number[], score: number}[]} the best first
 */
export function decodeYolox(output, columns, size, image, thresholds) {
  const found = [];
  const decoded = isDecoded(output, columns, size);
  for (const [at, x, y, stride] of rowsOf(columns, size)) {
    const score = output[at + 4] * output[at + PERSON];
    if (!(score > thresholds.scoreThr)) continue;
    const [cx, cy] = [x, y].map((cell, i) =>
      decoded ? output[at + i] : (output[at + i] + cell) * stride);
    const [w, h] = [2, 3].map((i) =>
      (decoded ? output[at + i] : Math.exp(output[at + i]) * stride) / 2);
    found.push({ score, box: [cx - w, cy - h, cx + w, cy + h] });
  }
  found.sort((a, b) => b.score - a.score);
  const kept = [];
  for (const one of found) {
    if (kept.every(({ box }) => iou(box, one.box) <= thresholds.iouThr)) {
      kept.push(one);
    }
  }
  const factor = resizeFactor(image, size);
  const full = [image.width, image.height];
  return kept.slice(0, MAX_BOXES).map(({ box, score }) => ({
    score,
    box: box.map((value, i) =>
      Math.min(Math.max(value / factor, 0), full[i % 2])),
  })).filter(({ box }) => box[2] > box[0] && box[3] > box[1]);
}

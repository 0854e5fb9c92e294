/**
 * The arithmetic of `lpn_mmpose`'s topdown module: person boxes to crops,
 * heatmaps to keypoints. Rounding follows NumPy's float32 and OpenCV's
 * `warpAffine`, so that the crops are equal to theirs bit for bit.
 *
 * A box is [x1, y1, x2, y2] in pixels of the image; a size is [w, h]; an image
 * is an ImageData, RGBA.
 */

const f32 = Math.fround;
const NEGLIGIBLE = 25; // weights below exp(-NEGLIGIBLE) of the largest are zero

/** Round half to even, as NumPy and OpenCV do. */
export function rint(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

/** Return the centre and the size [w, h] of a person's crop, in the image. */
export function boxToCenterScale(box, inputSize, padding) {
  const [x1, y1, x2, y2] = box.map(f32);
  const [width, height] = [f32(x2 - x1), f32(y2 - y1)];
  if (!(width > 0 && height > 0 && width < Infinity && height < Infinity)) {
    throw new Error(`a box must have x1 < x2 and y1 < y2, got ${box}`);
  }
  const aspect = f32(inputSize[0] / inputSize[1]);
  const wide = Math.max(width, f32(height * aspect));
  return {
    center: [f32(x1 + f32(width / 2)), f32(y1 + f32(height / 2))],
    scale: [f32(wide * f32(padding)), f32(f32(wide / aspect) * f32(padding))],
  };
}

/**
 * Cut a person out of an image, bilinearly; 0 outside the image.
 *
 * @param {ImageData} image
 * @param {{center: number[], scale: number[]}} person
 * @param {number[]} inputSize
 * @param {string} order 'bgr' or 'rgb'
 * @param {Uint8Array} out h * w * 3 values
 */
export function crop(image, { center, scale }, inputSize, order, out) {
  const { data, width, height } = image;
  // source coordinates in 1/32 px, as OpenCV has them
  const zoom = inputSize[0] / scale[0];
  const step = zoom * (1 / (zoom * zoom));
  const [xs, ys] = [0, 1].map((axis) => {
    const origin = -step * (inputSize[axis] / 2 - zoom * center[axis]);
    return Int32Array.from({ length: inputSize[axis] }, (_, i) => (axis
      ? rint((step * i + origin) * 1024)
      : rint(step * i * 1024) + rint(origin * 1024)) + 16 >> 5);
  });
  const channels = order === 'bgr' ? [2, 1, 0] : [0, 1, 2];
  let at = 0;
  for (const y of ys) {
    const [row, low] = [y >> 5, y & 31];
    for (const x of xs) {
      const [column, right] = [x >> 5, x & 31];
      const [above, below] = [row >= 0 && row < height,
        row >= -1 && row < height - 1];
      const [before, after] = [column >= 0 && column < width,
        column >= -1 && column < width - 1];
      const pixel = (row * width + column) * 4;
      for (const channel of channels) {
        const i = pixel + channel;
        const top = (before && above ? data[i] * (32 - right) : 0) +
          (after && above ? data[i + 4] * right : 0);
        const bottom =
          (before && below ? data[i + width * 4] * (32 - right) : 0) +
          (after && below ? data[i + width * 4 + 4] * right : 0);
        out[at++] = top * (32 - low) + bottom * low + 512 >> 10;
      }
    }
  }
}

/** Locate a heatmap's keypoint by Beta-Soft-Argmax: [x, y, score]. */
function softArgmax(map, [width], beta) {
  let peak = -Infinity;
  for (const value of map) if (value > peak) peak = value;
  const floor = peak - NEGLIGIBLE / beta;
  let [total, sumX, sumY] = [0, 0, 0];
  for (let i = 0; i < map.length; i++) {
    if (map[i] < floor) continue;
    const weight = Math.exp(beta * (map[i] - peak));
    total += weight;
    sumX += weight * (i % width);
    sumY += weight * Math.floor(i / width);
  }
  const [x, y] = [f32(sumX / total), f32(sumY / total)];
  if (!Number.isFinite(x + y)) throw new Error('heatmaps hold NaN or infinity');
  return [x, y, map[rint(y) * width + rint(x)]];
}

/** Locate a heatmap's keypoint by its maximum: [x, y, score]. */
function argmax(map, [width]) {
  let best = 0;
  for (let i = 1; i < map.length; i++) if (map[i] > map[best]) best = i;
  if (!(map[best] > 0)) return [0, 0, map[best]];
  return [best % width, Math.floor(best / width), map[best]];
}

/** Shift a keypoint by a quarter pixel towards the higher neighbour. */
function quarterOffset([x, y, score], map, [width, height]) {
  const [column, row] = [Math.floor(x + 0.5), Math.floor(y + 0.5)];
  if (!(column > 1 && column < width - 1 && row > 1 && row < height - 1)) {
    return [x, y, score];
  }
  const at = row * width + column;
  return [x + 0.25 * Math.sign(map[at + 1] - map[at - 1]),
    y + 0.25 * Math.sign(map[at + width] - map[at - width]), score];
}

/**
 * Turn what the network gives for a person into keypoints in the image.
 *
 * @param {Object<string, Float32Array>} outputs the person's `heatmaps`
 *   (K, H, W), or `keypoints` (K, 2) in pixels of the crop and `scores` (K, )
 * @param {object} meta see `lpn_mmpose/runtime/model_meta.py`
 * @param {{center: number[], scale: number[]}} person
 * @returns {{keypoints: number[][], scores: number[]}} K points and scores
 */
export function decode(outputs, meta, { center, scale }) {
  const points = meta.keypoint_names.map((_, k) => {
    if (meta.outputs === 'keypoints') {
      return [...outputs.keypoints.subarray(2 * k, 2 * k + 2),
        outputs.scores[k]];
    }
    const size = meta.heatmap_size;
    const area = size[0] * size[1];
    const map = outputs.heatmaps.subarray(k * area, (k + 1) * area);
    const point = meta.codec === 'BetaSoftArgmaxHeatmap'
      ? softArgmax(map, size, meta.beta) : argmax(map, size);
    return meta.quarter_offset ? quarterOffset(point, map, size) : point;
  });
  const size = meta.outputs === 'keypoints'
    ? meta.input_size : meta.heatmap_size;
  return {
    keypoints: points.map((point) => [0, 1].map((axis) =>
      point[axis] * scale[axis] / size[axis] + center[axis] - scale[axis] / 2)),
    scores: points.map((point) => point[2]),
  };
}

/** Return the box of a person of whom keypoints are known. */
export function keypointsToBox(keypoints, imageSize, margin) {
  const [low, high] = [Math.min, Math.max].map((pick) =>
    [0, 1].map((axis) => pick(...keypoints.map((point) => point[axis]))));
  const pad = margin * Math.max(high[0] - low[0], high[1] - low[1]);
  return [...low.map((value) => Math.max(value - pad, 0)),
    ...high.map((value, axis) => Math.min(value + pad, imageSize[axis] - 1))];
}

/** Draw persons over a picture, in the colours of the model's metadata. */

const rgb = (color) => `rgb(${color.join()})`;

/**
 * @param {CanvasRenderingContext2D} context in pixels of the picture
 * @param {{keypoints: number[][], scores: number[], box: number[]}[]} persons
 * @param {object} meta see `lpn_mmpose/runtime/model_meta.py`
 * @param {{keypointThr: number, boxes: boolean, pixel: number}} options
 *   `pixel`: picture pixels of a pixel on the screen
 */
export function drawPersons(context, persons, meta, options) {
  const { keypointThr, boxes, pixel } = options;
  context.lineCap = 'round';
  for (const { keypoints, scores, box } of persons) {
    const seen = scores.map((score) => score >= keypointThr);
    if (boxes) {
      context.strokeStyle = '#ccc';
      context.lineWidth = 1.5 * pixel;
      context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    }
    const side = Math.max(box[2] - box[0], box[3] - box[1]);
    const width = Math.max(side / 100, 2 * pixel);
    const limbs = meta.skeleton.map(([a, b], i) =>
      [a, b, meta.skeleton_colors[i]]).filter(([a, b]) => seen[a] && seen[b]);
    for (const outline of [true, false]) {
      for (const [a, b, color] of limbs) {
        context.strokeStyle = outline ? '#111' : rgb(color);
        context.lineWidth = width + (outline ? 2 * pixel : 0);
        context.beginPath();
        context.moveTo(...keypoints[a]);
        context.lineTo(...keypoints[b]);
        context.stroke();
      }
    }
    keypoints.forEach(([x, y], k) => {
      if (!seen[k]) return;
      context.beginPath();
      context.arc(x, y, width, 0, 2 * Math.PI);
      context.fillStyle = rgb(meta.keypoint_colors[k]);
      context.strokeStyle = '#111';
      context.lineWidth = 1.5 * pixel;
      context.fill();
      context.stroke();
    });
  }
}

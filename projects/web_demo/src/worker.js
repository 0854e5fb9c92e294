/**
 * The networks, beside the page's thread. Every message {id, method, args} is
 * answered by {id, result} or {id, error}.
 */
import { decodeYolox, iou, letterbox, yoloxSize } from './detector.js';
import { readMetadata } from './metadata.js';
import { boxToCenterScale, crop, decode, keypointsToBox } from './topdown.js';

const MAX_BATCH = 16; // persons at once, which bounds the memory
// on video, a person's box comes from the keypoints of the frame before; the
// detector looks again after so many frames, or when somebody is lost
const DETECT_EVERY = 30;
const [KEYPOINT_THR, MIN_KEYPOINTS, SAME_THR, MARGIN] = [0.3, 4, 0.8, 0.15];
const IOU_THR = 0.3;
const AGREE = 0.05; // largest difference of two engines' outputs, relative

let ort;
let providers;
let pose;
let detector;
let tracked = [];
let source; // whose frames the tracked persons are in
let age = 0;

/** Load ONNX Runtime for 'auto', 'webgpu' or 'wasm'. */
async function start(engine) {
  let adapter = engine !== 'wasm' && await navigator.gpu?.requestAdapter();
  if (engine === 'webgpu' && !adapter) {
    throw new Error('this browser offers no WebGPU here; choose another engine');
  }
  // a GPU in software takes a minute to be found slower
  if (engine === 'auto' && adapter?.info?.isFallbackAdapter) adapter = null;
  ort = await import(adapter ? './ort/ort.webgpu.min.mjs'
    : './ort/ort.wasm.min.mjs');
  providers = !adapter ? ['wasm']
    : engine === 'webgpu' ? ['webgpu'] : ['wasm', 'webgpu'];
  ort.env.wasm.wasmPaths = new URL('./ort/', import.meta.url).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated
    ? Math.min(navigator.hardwareConcurrency, 4) : 1;
}

/** Return an input of pseudo-random bytes for a session. */
function trial({ inputMetadata: [{ name, type, shape }] }) {
  const dims = shape.map((side) => (typeof side === 'number' ? side : 1));
  const values = Array.from({ length: dims.reduce((a, b) => a * b) },
    (_, i) => Math.imul(i, 2654435761) >>> 24);
  return { [name]: new ort.Tensor(type, values, dims) };
}

function agree(a, b) {
  return Object.keys(a).every((name) => {
    const [x, y] = [a[name].data, b[name].data];
    const largest = x.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-6);
    return x.every((v, i) => Math.abs(v - y[i]) <= AGREE * largest);
  });
}

/**
 * Create a session of the engine that runs the model fastest here. WebGPU is
 * not taken if it fails, or if its answer is not WebAssembly's.
 */
async function create(bytes, check = () => {}) {
  let best;
  let truth;
  for (const provider of providers) {
    let session;
    try {
      session = await ort.InferenceSession.create(
        bytes, { executionProviders: [provider] });
      check(session);
      const output = await session.run(trial(session)); // compiles, allocates
      truth ??= output;
      if (!agree(truth, output)) throw new Error('its results differ');
      const begin = performance.now();
      await session.run(trial(session));
      const time = performance.now() - begin;
      if (best && time > best.time) throw new Error('it is slower');
      await best?.session.release();
      best = { session, provider, time };
    } catch (error) {
      await session?.release();
      if (!best) throw error;
      console.info(`${provider} is not used: ${error.message}`);
    }
  }
  return best;
}

const methods = {
  start,

  /** Take the pose model; return its metadata and the engine. */
  async loadPose(bytes) {
    const meta = readMetadata(bytes);
    if (meta?.task !== 'pose') {
      throw new Error('a pose model must come from lpn_mmpose\'s export; this ' +
        'file lacks its metadata');
    }
    const { session, provider } = await create(bytes);
    const [batch] = session.inputMetadata[0].shape;
    pose = { session, meta, batch: typeof batch === 'number' ? batch : null };
    tracked = [];
    return { meta, engine: provider === 'webgpu' ? 'WebGPU'
      : `WebAssembly, threads: ${ort.env.wasm.numThreads}` };
  },

  /** Take a detector. */
  async loadDetector(bytes) {
    readMetadata(bytes); // says in plain words if it is no ONNX file
    const { session } = await create(bytes, yoloxSize);
    detector = { session, size: yoloxSize(session) };
    tracked = [];
  },

  /** Return the persons in an ImageData of a source, and the milliseconds it took. */
  async estimate(image, { live, scoreThr, turn }) {
    if (turn !== source) tracked = [];
    source = turn;
    if (!pose) throw new Error('Choose a pose model under “Models” first');
    const begin = performance.now();
    const boxes = await findBoxes(image, live, scoreThr);
    const middle = performance.now();
    const persons = await estimatePoses(image, boxes);
    if (live && detector) follow(persons, image);
    return { persons, detectMs: middle - begin,
      poseMs: performance.now() - middle };
  },
};

async function findBoxes(image, live, scoreThr) {
  if (!detector) {
    return [{ box: [0, 0, image.width, image.height], score: 1 }];
  }
  if (live && tracked.length && age++ < DETECT_EVERY) return tracked;
  age = 0;
  const { session, size } = detector;
  const input = new ort.Tensor(
    'float32', letterbox(image, size), [1, 3, size[1], size[0]]);
  const outputs = await session.run({ [session.inputNames[0]]: input });
  const { data, dims } = outputs[session.outputNames[0]];
  return decodeYolox(data, dims[2], size, image,
    { scoreThr, iouThr: IOU_THR });
}

async function estimatePoses(image, boxes) {
  const { session, meta, batch } = pose;
  const [width, height] = meta.input_size;
  const area = width * height * 3;
  const persons = [];
  const step = batch ?? MAX_BATCH;
  for (let start = 0; start < boxes.length; start += step) {
    const part = boxes.slice(start, start + step);
    const rows = batch ?? part.length;
    const crops = new Uint8Array(rows * area);
    const places = part.map(({ box }) =>
      boxToCenterScale(box, meta.input_size, meta.bbox_padding));
    places.forEach((place, i) => crop(image, place, meta.input_size,
      meta.channel_order, crops.subarray(i * area, (i + 1) * area)));
    const outputs = await session.run(
      { image: new ort.Tensor('uint8', crops, [rows, height, width, 3]) });
    part.forEach(({ box, score }, i) => {
      const row = Object.fromEntries(Object.entries(outputs).map(
        ([name, { data }]) => {
          const length = data.length / rows;
          return [name, data.subarray(i * length, (i + 1) * length)];
        }));
      persons.push({ box, boxScore: score, ...decode(row, meta, places[i]) });
    });
  }
  return persons;
}

/** Set the boxes for the next frame; none if somebody is lost. */
function follow(persons, { width, height }) {
  tracked = [];
  for (const { keypoints, scores, boxScore } of persons) {
    const seen = keypoints.filter(([x, y], k) => scores[k] >= KEYPOINT_THR &&
      x >= 0 && y >= 0 && x < width && y < height);
    const box = seen.length >= MIN_KEYPOINTS &&
      keypointsToBox(seen, [width, height], MARGIN);
    if (!box || box[2] - box[0] < 1 || box[3] - box[1] < 1 ||
        tracked.some((other) => iou(other.box, box) >= SAME_THR)) {
      tracked = [];
      return;
    }
    tracked.push({ box, score: boxScore });
  }
}

async function answer({ id, method, args }) {
  try {
    self.postMessage({ id, result: await methods[method](...args) });
  } catch (error) {
    self.postMessage({ id, error: error.message ?? String(error) });
  }
}

let last = Promise.resolve(); // a session takes one call at a time
self.onmessage = ({ data }) => { last = last.then(() => answer(data)); };

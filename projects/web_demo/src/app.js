/** The page: sources of pictures, models, settings, and what is shown. */
import { drawPersons } from './draw.js';

const $ = (id) => document.getElementById(id);
const canvas = $('canvas');
const frame = document.createElement('canvas'); // the picture without drawing
const framePixels = frame.getContext('2d', { willReadFrequently: true });
const video = document.createElement('video');
video.muted = video.playsInline = video.loop = true;

const models = { pose: null, detector: null }; // {name, bytes}
let meta;
let persons = [];
let sourceName = 'picture';
let turn = 0; // of the source that is shown; others stop

function say(text, error = false) {
  $('status').textContent = text;
  $('status').classList.toggle('error', error);
}

/* ---- the networks ---- */

let worker;
let waiting = new Map();
let count = 0;

function call(method, ...args) {
  return new Promise((resolve, reject) => {
    waiting.set(++count, { resolve, reject });
    const pixels = args.filter((value) => value instanceof ImageData);
    worker.postMessage({ id: count, method, args },
      pixels.map(({ data }) => data.buffer));
  });
}

/** Start the engine, and give it the models that there are. */
async function startEngine() {
  say('Starting the engine …');
  worker?.terminate();
  waiting.forEach(({ reject }) => reject(new Error('the engine was changed')));
  waiting = new Map();
  worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  worker.onerror = (event) => {
    waiting.forEach(({ reject }) => reject(
      new Error(event.message || 'the engine cannot be started')));
    waiting = new Map();
  };
  await call('start', $('engine').value);
  for (const kind of ['pose', 'detector']) {
    if (models[kind]) await useModel(kind, models[kind]);
  }
}

async function useModel(kind, model) {
  say(`Loading ${model.name} …`);
  try {
    if (kind === 'pose') {
      const loaded = await call('loadPose', model.bytes);
      meta = loaded.meta;
      persons = [];
      $('engine-name').textContent = loaded.engine;
      $('pose-name').textContent = meta.name || model.name;
    } else {
      await call('loadDetector', model.bytes);
      $('detector-name').textContent = model.name;
    }
  } catch (error) {
    throw new Error(`${model.name} cannot be used: ${error.message}`);
  }
  models[kind] = model;
  $('note').hidden = models.detector !== null;
}

/** Load a model that lies beside the page; null if it does not. */
async function fetchModel(name) {
  const response = await fetch(`models/${name}`);
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`models/${name}: ${response.statusText}`);
  return { name, bytes: new Uint8Array(await response.arrayBuffer()) };
}

/* ---- pictures ---- */

/** Take a picture or a frame of a video for the one to work on. */
function capture(source, width, height) {
  if (frame.width !== width) frame.width = width;
  if (frame.height !== height) frame.height = height;
  framePixels.clearRect(0, 0, width, height); // a transparent picture covers nothing
  framePixels.drawImage(source, 0, 0);
}

function redraw() {
  const { width, height } = frame;
  // small pictures are enlarged first, so that lines on them are smooth
  const zoom = Math.max(1, Math.min(1200 / Math.max(width, height), 8));
  canvas.width = Math.round(width * zoom);
  canvas.height = Math.round(height * zoom);
  const context = canvas.getContext('2d');
  context.scale(canvas.width / width, canvas.height / height);
  context.drawImage(frame, 0, 0);
  const shown = canvas.getBoundingClientRect();
  const pixel = 1 / Math.min(shown.width / width, shown.height / height);
  // keypoints lie in pixels' centres, canvas coordinates between pixels
  context.translate(0.5, 0.5);
  drawPersons(context, persons, meta, {
    keypointThr: Number($('keypoint-thr').value),
    boxes: models.detector !== null,
    pixel,
  });
  canvas.setAttribute('aria-label',
    `${sourceName}, persons drawn: ${persons.length}`);
}

/** Find the persons in `frame` and show them; false if it is out of date. */
async function estimate(mine, live) {
  const image = framePixels.getImageData(0, 0, frame.width, frame.height);
  const found = await call('estimate', image,
    { live, scoreThr: Number($('person-thr').value), turn: mine });
  if (mine !== turn) return false;
  persons = found.persons;
  canvas.hidden = false;
  $('hint').hidden = true;
  redraw();
  $('save').disabled = false;
  $('persons').textContent = persons.length;
  $('detect-ms').textContent = models.detector
    ? `${found.detectMs.toFixed(0)} ms` : 'none';
  $('pose-ms').textContent = `${found.poseMs.toFixed(0)} ms`;
  if (!live) {
    const time = found.detectMs + found.poseMs;
    $('fps').textContent = (1000 / time).toFixed(1);
  }
  return true;
}

/** Stop what is shown now; return the number of what comes next. */
function stop() {
  turn += 1;
  video.pause();
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  if (video.src) {
    URL.revokeObjectURL(video.src);
    video.removeAttribute('src');
  }
  canvas.classList.remove('mirror');
  $('camera').textContent = 'Start camera';
  return turn;
}

async function showPicture(file) {
  const mine = stop();
  say(`Reading ${file.name} …`);
  let bitmap;
  try {
    // the pixels as they are in the file, which is what the models are made for
    bitmap = await createImageBitmap(file,
      { imageOrientation: 'from-image', colorSpaceConversion: 'none' });
  } catch {
    throw new Error(`${file.name} is no picture or video that this browser can read`);
  }
  if (mine !== turn) return;
  capture(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  sourceName = file.name;
  if (await estimate(mine, false)) {
    say(`${file.name}, ${frame.width} × ${frame.height}`);
  }
}

/** Show a video or the camera until something else is shown. */
async function showVideo(mine, name) {
  await video.play();
  sourceName = name;
  let before;
  let time; // of a frame, a moving average
  while (mine === turn) {
    if (!video.videoWidth) throw new Error(`${name} has no picture`);
    capture(video, video.videoWidth, video.videoHeight);
    if (!await estimate(mine, true)) return;
    const now = performance.now();
    if (before !== undefined) {
      time = time === undefined ? now - before : 0.9 * time + 0.1 * (now - before);
      $('fps').textContent = (1000 / time).toFixed(1);
    } else {
      say(`${name}, ${frame.width} × ${frame.height}`);
    }
    before = now;
    await new Promise((resolve) => {
      if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve);
      else requestAnimationFrame(resolve);
    });
  }
}

async function showFile(file) {
  if (!file.type.startsWith('video/')) return showPicture(file);
  const mine = stop();
  say(`Reading ${file.name} …`);
  video.src = URL.createObjectURL(file);
  try {
    await showVideo(mine, file.name);
  } catch (error) {
    if (mine !== turn) return undefined;
    stop();
    throw error.name === 'NotSupportedError'
      ? new Error(`${file.name} is no video that this browser can read`) : error;
  }
  return undefined;
}

const CAMERA_ERRORS = {
  NotFoundError: 'No camera was found. Connect one, or open a file.',
  NotAllowedError: 'The camera is not allowed for this page. Allow it in the ' +
    'browser\'s settings, or open a file.',
  NotReadableError: 'The camera is in use by another program. Close that, or ' +
    'open a file.',
};

async function showCamera() {
  if (video.srcObject) {
    stop();
    say('The camera is off');
    return;
  }
  const mine = stop();
  if (!navigator.mediaDevices) {
    throw new Error('No camera here: browsers give it to pages on https:// and ' +
      'on localhost only. Open a file instead.');
  }
  say('Starting the camera …');
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia(
      { video: { width: { ideal: 1280 } } });
  } catch (error) {
    throw new Error(CAMERA_ERRORS[error.name] ??
      `The camera cannot be used: ${error.message}`);
  }
  const [track] = stream.getVideoTracks();
  if (mine !== turn) {
    track.stop();
    return;
  }
  video.srcObject = stream;
  canvas.classList.toggle('mirror',
    track.getSettings().facingMode !== 'environment');
  $('camera').textContent = 'Stop camera';
  track.onended = () => {
    if (mine !== turn) return;
    stop();
    say('The camera was disconnected. Connect it, or open a file.', true);
  };
  await showVideo(mine, 'camera');
}

const link = document.createElement('a');

/** Download the persons as `lpn-pose` and MMPose write them. */
function save() {
  const instances = persons.map(({ keypoints, scores, box, boxScore }) => ({
    keypoints, keypoint_scores: scores, bbox: [box], bbox_score: boxScore,
  }));
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob(
    [`${JSON.stringify(instances)}\n`], { type: 'application/json' }));
  link.download = `${sourceName.replace(/\.[^.]*$/, '')}.json`;
  link.click();
}

/* ---- what the user does ---- */

let action = 0;

/** Run a handler; say what went wrong, unless the user is on to another. */
const guard = (handler) => async (...args) => {
  action += 1;
  const mine = action;
  try {
    await handler(...args);
  } catch (error) {
    if (mine === action) say(error.message, true);
  }
};

/** Work on the picture that is shown again, after a change of what finds. */
async function again() {
  if (!canvas.hidden && !video.srcObject && !video.src) await estimate(turn, false);
}

const onFiles = guard(async ([file]) => {
  if (!file) return;
  if (file.name.endsWith('.onnx')) {
    throw new Error('Choose models under “Models”, at the side');
  }
  await showFile(file);
});
$('file').onchange = ({ target }) => {
  onFiles([...target.files]);
  target.value = ''; // the same file can be chosen again
};
$('camera').onclick = guard(showCamera);
$('example').onclick = guard(async () => {
  const response = await fetch('example.jpg');
  if (!response.ok) throw new Error('The example cannot be loaded');
  await showPicture(new File([await response.blob()], 'example.jpg'));
});
$('save').onclick = save;
for (const kind of ['pose', 'detector']) {
  $(`${kind}-file`).onchange = guard(async ({ target }) => {
    const [file] = target.files;
    target.value = ''; // the same file can be chosen again
    if (!file) return;
    await useModel(kind,
      { name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) });
    say(`${file.name} is used`);
    await again();
  });
}
$('engine').onchange = guard(async () => {
  stop();
  try {
    await startEngine();
  } catch (error) {
    $('engine').value = 'auto';
    await startEngine();
    throw error;
  }
  say('Ready');
  await again();
});
for (const id of ['keypoint-thr', 'person-thr']) {
  $(id).oninput = ({ target }) => {
    target.nextElementSibling.textContent = Number(target.value).toFixed(2);
    if (canvas.hidden) return;
    if (id === 'keypoint-thr') redraw();
    else again().catch((error) => say(error.message, true));
  };
}
window.addEventListener('resize', () => { if (!canvas.hidden) redraw(); });

for (const type of ['dragover', 'dragleave', 'drop']) {
  window.addEventListener(type, (event) => {
    event.preventDefault();
    $('stage').classList.toggle('drop', type === 'dragover');
    if (type === 'drop') onFiles(event.dataTransfer.files);
  });
}
window.addEventListener('paste', (event) => onFiles(event.clipboardData.files));

await guard(async () => {
  $('note').textContent = 'No detector: the whole picture is taken as one ' +
    'person. To find several persons, choose a detector under “Models”.';
  $('note').hidden = false;
  const [pose, detector] = await Promise.all(
    ['pose.onnx', 'detector.onnx'].map(fetchModel));
  await startEngine();
  if (!pose) throw new Error('models/pose.onnx is missing beside the page');
  await useModel('pose', pose);
  if (detector) await useModel('detector', detector);
  say('Ready');
})();
document.body.dataset.ready = 'true';

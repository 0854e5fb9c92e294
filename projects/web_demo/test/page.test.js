/** The built page in Chromium, beside the package. */
import assert from 'node:assert/strict';
import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { clearStatus, distances, pageTest, persons, same, saved, says }
  from './browser.js';
import { reference } from './python.js';

const DEMO = fileURLToPath(new URL('../../../demo/demo.jpg', import.meta.url));
const OUTPUTS = fileURLToPath(new URL('../outputs/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'web-test-'));
const file = (name) => join(folder, name);

let demo; // what the package finds in the demo photograph
let frames; // and in the first frames of the camera and the video
before(() => {
  mkdirSync(OUTPUTS, { recursive: true });
  reference('files', folder);
  [demo, ...frames] = Object.values(
    reference('poses', DEMO, file('camera.png'), file('video.png')));
});
after(() => rmSync(folder, { recursive: true }));

/** The same of a video, whose colours browsers convert in their own way. */
function alike(actual, expected) {
  assert.equal(actual.length, expected.length);
  const all = distances(actual, expected).sort((a, b) => a - b);
  assert.ok(all[Math.floor(all.length / 2)] < 3, `distances ${all}`);
  assert.ok(all.at(-1) < 20, `distances ${all}`);
}

async function choose(page, kind, path) {
  const input = page.locator(`#${kind}-file`);
  if (!await input.isVisible()) await page.getByText('Models', { exact: true }).click();
  await clearStatus(page);
  await input.setInputFiles(path);
  await says(page, /is used|cannot be used/);
  return page.locator('#status').textContent();
}

pageTest('a photograph has the keypoints that the package finds',
  { viewport: { width: 1280, height: 800 } }, async (page) => {
    const found = await persons(page, DEMO);
    same(found, demo, 'demo photograph');
    assert.deepEqual(found[0].bbox, [[0, 0, 237, 334]]);
    found[0].keypoint_scores.forEach((score, k) =>
      assert.ok(Math.abs(score - demo[0].keypoint_scores[k]) < 1e-3));
    assert.match(await page.locator('#note').textContent(), /whole picture/);
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    assert.ok(Number(await page.locator('#fps').textContent()) > 0);
    await page.screenshot({ path: join(OUTPUTS, 'desktop.png') });
    await page.setViewportSize({ width: 390, height: 844 });
    assert.equal(await page.evaluate(() =>
      document.documentElement.scrollWidth > innerWidth), false);
    await page.screenshot({ path: join(OUTPUTS, 'phone.png'), fullPage: true });
  });

pageTest('the example button and dropped files do the same', {}, async (page) => {
  await page.getByRole('button', { name: 'Example' }).click();
  await says(page, /^example.jpg, 237 × 334$/);
  same((await saved(page)).persons, demo);
  const transfer = await page.evaluateHandle(async () => {
    const blob = await (await fetch('example.jpg')).blob();
    const data = new DataTransfer();
    data.items.add(new File([blob], 'dropped.jpg', { type: blob.type }));
    return data;
  });
  await page.dispatchEvent('#stage', 'drop', { dataTransfer: transfer });
  await says(page, /^dropped.jpg, 237 × 334$/);
  const { name, persons: found } = await saved(page);
  assert.equal(name, 'dropped.json');
  same(found, demo);
});

pageTest('a transparent picture covers the one before', {}, async (page) => {
  await persons(page, DEMO);
  const [expected] = Object.values(reference('poses', file('clear.png')));
  same(await persons(page, file('clear.png')), expected);
});

pageTest('a photograph lies as its EXIF says', {}, async (page) => {
  const jpeg = readFileSync(DEMO);
  const exif = Buffer.from('ffe10022' + '457869660000' + // 34 bytes, "Exif"
    '4d4d002a00000008' + '0001' + '0112000300000001' + '00060000' + '00000000',
  'hex'); // big-endian TIFF with one entry: orientation 6, a quarter turn
  writeFileSync(file('turned.jpg'),
    Buffer.concat([jpeg.subarray(0, 2), exif, jpeg.subarray(2)]));
  const [expected] = Object.values(reference('poses', file('turned.jpg')));
  const found = await persons(page, file('turned.jpg'));
  assert.deepEqual(found[0].bbox, [[0, 0, 334, 237]]);
  same(found, expected);
});

pageTest('without a camera the page says so', {}, async (page) => {
  await page.getByRole('button', { name: 'Start camera' }).click();
  await says(page, /No camera was found/);
});

pageTest('the camera\'s persons are found until it is stopped', { flags: [
  '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
  `--use-file-for-fake-video-capture=${file('camera.y4m')}`] },
async (page) => {
  await page.getByRole('button', { name: 'Start camera' }).click();
  await says(page, /^camera, 236 × 334$/);
  await page.waitForFunction(
    () => Number(document.getElementById('fps').textContent) > 0);
  alike((await saved(page)).persons, frames[0]);
  await page.getByRole('button', { name: 'Stop camera' }).click();
  await says(page, /camera is off/);
  assert.equal(await page.getByRole('button', { name: 'Start camera' }).count(), 1);
});

pageTest('a video\'s persons are found', {}, async (page) => {
  await page.getByLabel('Open file').setInputFiles(file('video.webm'));
  await says(page, /^video.webm, 236 × 334$/);
  await page.waitForFunction(
    () => Number(document.getElementById('fps').textContent) > 0);
  const { name, persons: found } = await saved(page);
  assert.equal(name, 'video.json');
  alike(found, frames[1]);
});

pageTest('a detector\'s persons are found', {}, async (page) => {
  assert.match(await choose(page, 'detector', file('yolox.onnx')), /is used/);
  assert.equal(await page.locator('#note').isVisible(), false);
  const [expected] = Object.values(
    reference('poses', DEMO, '--det', file('yolox.onnx')));
  const found = await persons(page, DEMO);
  assert.equal(found.length, 2);
  found.forEach(({ bbox, bbox_score }, i) => {
    bbox[0].forEach((value, j) =>
      assert.ok(Math.abs(value - expected[i].bbox[0][j]) < 0.01));
    assert.ok(Math.abs(bbox_score - [0.81, 0.63][i]) < 1e-6);
  });
  same(found, expected);
  await page.locator('#person-thr').fill('0.7');
  await page.waitForFunction(
    () => document.getElementById('persons').textContent === '1');
});

pageTest('a video begins without the persons of the one before', {}, async (page) => {
  await choose(page, 'detector', file('whole.onnx'));
  await page.getByLabel('Open file').setInputFiles(file('video.webm'));
  await says(page, /^video.webm, 236 × 334$/);
  await page.waitForFunction(
    () => Number(document.getElementById('fps').textContent) > 0);
  assert.equal((await saved(page)).persons.length, 1);
  await page.evaluate(() => {
    window.drawn = [];
    new MutationObserver(([{ target }]) => window.drawn.push(target.ariaLabel))
      .observe(document.querySelector('canvas'), { attributeFilter: ['aria-label'] });
  });
  await page.getByLabel('Open file').setInputFiles(file('dark.webm'));
  await says(page, /^dark.webm, 334 × 236$/);
  const drawn = (await page.evaluate(() => window.drawn))
    .filter((label) => label.startsWith('dark.webm'));
  assert.ok(drawn.length > 0);
  for (const label of drawn) assert.match(label, /persons drawn: 0$/);
});

pageTest('another pose model brings its own keypoints', {}, async (page) => {
  await choose(page, 'pose', file('pose.onnx'));
  await choose(page, 'detector', file('yolox.onnx'));
  const [expected] = Object.values(reference(
    'poses', DEMO, '--det', file('yolox.onnx'), '--model', file('pose.onnx')));
  const found = await persons(page, DEMO);
  assert.equal(found[0].keypoints.length, 3);
  same(found, expected);
  // the middle of the line between the first two keypoints has its colour
  const [[x1, y1], [x2, y2]] = found[0].keypoints;
  const color = await page.evaluate(([x, y]) => {
    const canvas = document.getElementById('canvas');
    const zoom = canvas.width / 237;
    return [...canvas.getContext('2d').getImageData(
      (x + 0.5) * zoom, (y + 0.5) * zoom, 1, 1).data];
  }, [(x1 + x2) / 2, (y1 + y2) / 2]);
  assert.deepEqual(color, [255, 0, 255, 255]);
});

pageTest('what cannot be used is named, and the rest goes on', {}, async (page) => {
  writeFileSync(file('text.jpg'), 'no picture');
  writeFileSync(file('text.onnx'), 'no model');
  await page.getByLabel('Open file').setInputFiles(file('text.jpg'));
  await says(page, /text.jpg is no picture or video/);
  for (const kind of ['pose', 'detector']) {
    assert.match(await choose(page, kind, file('text.onnx')),
      /text.onnx cannot be used: it is not an ONNX file/);
  }
  assert.match(await choose(page, 'pose', file('yolox.onnx')), /lacks its metadata/);
  assert.match(await choose(page, 'detector', file('pose.onnx')),
    /must be YOLOX.*uint8 \[2,64,96,3\]/);
  await page.locator('#engine').selectOption('webgpu');
  await says(page, /no WebGPU/);
  same(await persons(page, DEMO), demo);
});

pageTest('a host without isolation gives one thread and the same keypoints',
  { headers: {} }, async (page) => {
    assert.equal(await page.evaluate(() => crossOriginIsolated), false);
    assert.match(await page.locator('#engine-name').textContent(), /threads: 1/);
    same(await persons(page, DEMO), demo);
  });

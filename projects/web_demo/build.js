/** Put the page, ONNX Runtime Web and the models into dist/. */
import { copyFile, cp, mkdir, readFile, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { readMetadata } from './src/metadata.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const root = '../../';

/** Return the path of the package's default model. */
async function defaultModel() {
  const source = `${root}lpn_mmpose/runtime/pose.py`;
  const name = /^DEFAULT_MODEL = '(.+)'$/m.exec(
    await readFile(here(source), 'utf8'))?.[1];
  if (!name) throw new Error(`${source} has no DEFAULT_MODEL; give POSE=FILE`);
  return here(`${root}lpn_mmpose/weights/${name}.onnx`);
}

const { POSE, DET } = process.env;
const pose = POSE || await defaultModel();
if (readMetadata(await readFile(pose))?.task !== 'pose') {
  throw new Error(`${pose} is no pose model exported by lpn_mmpose`);
}
await rm(here('dist'), { recursive: true, force: true });
await cp(here('src'), here('dist'), { recursive: true });
await mkdir(here('dist/ort'));
await mkdir(here('dist/models'));
const ort = 'node_modules/onnxruntime-web/dist/';
for (const name of ['ort.wasm.min.mjs', 'ort.webgpu.min.mjs',
  ...['', '.asyncify'].flatMap((kind) => ['mjs', 'wasm'].map(
    (suffix) => `ort-wasm-simd-threaded${kind}.${suffix}`))]) {
  await copyFile(here(ort + name), here(`dist/ort/${name}`));
}
await copyFile(pose, here('dist/models/pose.onnx'));
if (DET) await copyFile(DET, here('dist/models/detector.onnx'));
await copyFile(here(`${root}demo/demo.jpg`), here('dist/example.jpg'));
console.log(`dist: ${pose}${DET ? ` and ${DET}` : ', no detector'}`);

/** Run reference.py, and read what it writes. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('reference.py', import.meta.url));

export function reference(...args) {
  const python = process.env.PYTHON || 'python3';
  const { error, status, stdout, stderr } = spawnSync(
    python, [SCRIPT, ...args], { encoding: 'utf8', maxBuffer: 1 << 30 });
  if (error || status !== 0) {
    throw new Error(`${python} ${SCRIPT} failed; PYTHON must name one that has ` +
      `lpn_mmpose: ${error ?? stderr}`);
  }
  return stdout && JSON.parse(stdout);
}

/** Return the array that reference.py has packed, as bytes or floats. */
export function unpack({ data }, Type = Uint8Array) {
  const bytes = Uint8Array.from(Buffer.from(data, 'base64'));
  return new Type(bytes.buffer);
}

/** Return a packed BGR picture as an ImageData. */
export function unpackImage(picture) {
  const [height, width] = picture.shape;
  const bgr = unpack(picture);
  const data = new Uint8ClampedArray(height * width * 4);
  for (let i = 0; i < height * width; i++) {
    data.set([bgr[3 * i + 2], bgr[3 * i + 1], bgr[3 * i], 255], 4 * i);
  }
  return { data, width, height };
}

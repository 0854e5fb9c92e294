/**
 * Compare the page with the package on photographs of one's own:
 * node test/compare.js [--det YOLOX] IMAGE...
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { distances, open, persons, report, says } from './browser.js';
import { reference } from './python.js';

const { values: { det }, positionals } = parseArgs({
  options: { det: { type: 'string' } }, allowPositionals: true });
const files = positionals.map((file) => resolve(file));
const { page, close } = await open();
if (det) {
  await page.getByText('Models', { exact: true }).click();
  await page.locator('#detector-file').setInputFiles(det);
  await says(page, /is used/);
}
const expected = reference('poses', ...files, ...det ? ['--det', det] : []);
const all = [];
let boxes = 0; // largest difference of a side
for (const file of files) {
  const found = await persons(page, file);
  if (found.length !== expected[file].length) {
    console.log(`${file}: ${found.length} persons, ${expected[file].length} ` +
      'by the package');
    continue;
  }
  all.push(...distances(found, expected[file]));
  found.forEach(({ bbox }, i) => bbox[0].forEach((value, j) => {
    boxes = Math.max(boxes, Math.abs(value - expected[file][i].bbox[0][j]));
  }));
}
await close();
if (!all.length) throw new Error('nothing to compare');
report(`pictures ${files.length}`, all);
console.log(`boxes: largest difference ${boxes.toPrecision(2)} px`);

/** WebGPU on a GPU in software: minutes. `npm run test:webgpu` */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { pageTest, persons, same, says } from './browser.js';
import { reference } from './python.js';

const DEMO = fileURLToPath(new URL('../../../demo/demo.jpg', import.meta.url));

pageTest('WebGPU gives the same keypoints', { flags: ['--enable-unsafe-webgpu',
  '--enable-features=Vulkan', '--use-vulkan=swiftshader',
  '--use-webgpu-adapter=swiftshader'] }, async (page) => {
  page.setDefaultTimeout(550_000);
  await page.locator('#engine').selectOption('webgpu');
  await says(page, /Ready|WebGPU/);
  assert.equal(await page.locator('#engine-name').textContent(), 'WebGPU');
  same(await persons(page, DEMO), Object.values(reference('poses', DEMO))[0],
    'demo photograph by WebGPU');
});

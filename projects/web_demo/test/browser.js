/** The built page in a headless Chromium. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { chromium } from 'playwright-core';
import { serve } from '../serve.js';

const CHROMIUM = process.env.CHROMIUM || '/usr/bin/chromium';
const FLAGS = ['--no-sandbox', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update',
  '--disable-sync'];

/**
 * Serve dist/ and open it.
 *
 * @returns {Promise<{page: Page, errors: string[], close: function}>}
 *   `errors`: what the page has thrown or logged as an error
 */
export async function open({ flags = [], headers, viewport } = {}) {
  const browser = await chromium.launch({
    executablePath: CHROMIUM, args: [...FLAGS, ...flags], timeout: 120_000 });
  const server = await serve(0, headers);
  const close = async () => {
    await browser.close();
    server.close();
  };
  const page = await browser.newPage({ viewport });
  page.setDefaultTimeout(120_000);
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    const missing = message.location().url.endsWith('detector.onnx');
    if (message.type() === 'error' && !missing) errors.push(message.text());
  });
  try {
    await page.goto(`http://localhost:${server.address().port}/`);
    await page.waitForSelector('body[data-ready]');
  } catch (error) {
    await close();
    throw error;
  }
  return { page, errors, close };
}

/** Wait until the page says something. */
export async function says(page, pattern) {
  await page.getByRole('status').filter({ hasText: pattern }).waitFor();
}

/** Forget what the page said, so as to wait for what it says next. */
export async function clearStatus(page) {
  await page.locator('#status').evaluate((status) => { status.textContent = ''; });
}

/** Return the JSON that the page saves. */
export async function saved(page) {
  const [download] = await Promise.all([page.waitForEvent('download'),
    page.getByRole('button', { name: 'Save JSON' }).click()]);
  return {
    name: download.suggestedFilename(),
    persons: JSON.parse(await readFile(await download.path(), 'utf8')),
  };
}

/** Give the page a picture; return the persons that it saves. */
export async function persons(page, file) {
  await clearStatus(page);
  await page.getByLabel('Open file').setInputFiles(file);
  await says(page, /, \d+ × \d+$/);
  return (await saved(page)).persons;
}

/** Return the distances of the persons' keypoints, in pixels. */
export function distances(actual, expected) {
  return actual.flatMap(({ keypoints }, i) => keypoints.map(([x, y], k) =>
    Math.hypot(x - expected[i].keypoints[k][0], y - expected[i].keypoints[k][1])));
}

/** Return the share of distances up to 0.5 px; print it and the largest. */
export function report(what, all) {
  const share = all.filter((distance) => distance <= 0.5).length / all.length;
  console.log(`${what}: joints ${all.length}, within 0.5 px ` +
    `${(100 * share).toFixed(2)} %, largest distance ` +
    `${Math.max(...all).toPrecision(2)} px`);
  return share;
}

/** Assert that at least 99 % of the joints are where the package finds them. */
export function same(actual, expected, what = 'keypoints') {
  assert.equal(actual.length, expected.length);
  const all = distances(actual, expected);
  assert.ok(report(what, all) >= 0.99, `distances ${all}`);
}

/** Run a test on a page of its own; it must not log an error. */
export function pageTest(name, options, run) {
  test(name, { timeout: 600_000 }, async () => {
    const { page, errors, close } = await open(options);
    try {
      await run(page);
      assert.deepEqual(errors, []);
    } finally {
      await close();
    }
  });
}

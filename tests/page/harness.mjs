/** A real browser before a real world: what the tests of the page share. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const PAGE = join(ROOT, 'himbeerecouch/web/page');
/** What the page's folder has installed: the tests bring nothing of their own. */
export const installed = createRequire(join(PAGE, 'package.json'));
const { chromium } = installed('playwright-core');

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const PYTHON = process.env.PYTHON ?? 'python3';
export const SHOTS = process.env.SHOTS ?? join(ROOT, 'build/screenshots');
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
export const WITHIN_MS = 60_000;

export const SIZES = { desk: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } };

/**
 * A world of its own for a test file: `world.do('save', {document})` does something to it, `world.url`, `world.mac_id`,
 * `world.admin`, `world.operator`, `world.reader` describe it. `await world.end()` ends all of it.
 */
export async function startWorld() {
  const child = spawn(PYTHON, ['-m', 'tests.page_world'], {
    cwd: ROOT,
    env: { ...process.env, PYTHONPATH: process.env.PYTHONPATH ?? ROOT },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const read = async () => {
    const { value, done } = await lines.next();
    assert.ok(!done, 'the world has ended');
    return JSON.parse(value);
  };
  const world = await read();
  // One after the other: each answer is that of the request before it.
  let last = Promise.resolve();
  world.do = (what, fields = {}) => {
    last = last
      .catch(() => {})
      .then(async () => {
        child.stdin.write(`${JSON.stringify({ do: what, ...fields })}\n`);
        const answer = await read();
        assert.ok(!('error' in answer), answer.error);
        return answer.ok;
      });
    return last;
  };
  world.end = async () => {
    const ended = new Promise((done) => child.once('exit', done));
    child.stdin.end();
    await ended;
  };
  return world;
}

/** Chromium. There is no test of the page without one. */
export function startBrowser() {
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS, headless: true });
}

/**
 * A page in a window of its own, on which every error of a script, and every request that the browser refuses, fails the
 * test at its end: `await open(t, browser, world, {as: world.operator, path: '#/'})`.
 */
export async function open(t, browser, world, { as, path = '', size = 'desk', dark = false, expected = [] } = {}) {
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.setDefaultTimeout(WITHIN_MS);
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error.stack ?? error)));
  page.on('console', (message) => {
    // That a request failed is said by the browser itself, and by the page where it matters.
    const usual = /Failed to load resource/.test(message.text()) || expected.some((pattern) => pattern.test(message.text()));
    if (message.type() === 'error' && !usual) problems.push(message.text());
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(problems, []);
  });
  await page.goto(world.url + path);
  if (as) await login(page, as);
  return page;
}

export async function login(page, { name, password }) {
  await page.getByLabel('User').fill(name);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: 'Log out' }).waitFor();
}

/** Waits until `ask()` is true: `await until(async () => ..., 'what')`. */
export async function until(ask, what) {
  const end = Date.now() + WITHIN_MS;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < end, `${what}: not within ${WITHIN_MS / 1000} s`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

const axeSource = readFileSync(installed.resolve('axe-core/axe.min.js'), 'utf8');

/** Fails where axe-core finds something that keeps people from using what is shown. */
export async function assertAccessible(page) {
  // The page's own policy lets no other script in; the debugger may.
  await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => {
    const found = await globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
    return found.violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map((node) => `${node.target}: ${node.failureSummary}`) }));
  });
  assert.deepEqual(violations, []);
}

/** A picture of what is shown, in a folder outside of git. */
export async function shot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

/** The same view in light and dark, at a desk and on a phone: accessible and photographed in each. */
export async function inAllLooks(page, name) {
  for (const size of Object.keys(SIZES)) {
    await page.setViewportSize(SIZES[size]);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name} on a ${size} is ${wide} px too wide`);
      await shot(page, `${name}-${size}-${colorScheme}`);
      await assertAccessible(page);
    }
  }
  await page.setViewportSize(SIZES.desk);
  await page.emulateMedia({ colorScheme: 'light' });
}

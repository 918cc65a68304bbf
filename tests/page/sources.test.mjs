import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { PAGE } from './harness.mjs';

const STATIC = join(PAGE, '../static');
const files = (folder) => readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
const read = (folder) => Object.fromEntries(files(folder).map((each) => [join(each.parentPath, each.name).slice(folder.length), readFileSync(join(each.parentPath, each.name))]));

test('what is committed is what the sources make, and small', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'page-'));
  t.after(() => rmSync(folder, { recursive: true }));
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: PAGE, env: { ...process.env, OUT: folder }, stdio: ['ignore', 'ignore', 'inherit'] });
  const [built, committed] = [read(folder), read(STATIC)];
  assert.deepEqual(Object.keys(built).sort(), Object.keys(committed).sort(), 'make page makes it anew');
  let bytes = 0;
  for (const [name, content] of Object.entries(committed)) {
    // Compression may differ between versions of zlib; what is in it may not.
    const plain = name.endsWith('.gz') ? gunzipSync(content) : content;
    const wanted = name.endsWith('.gz') ? gunzipSync(built[name]) : built[name];
    assert.ok(plain.equals(wanted), `${name}: make page makes it anew`);
    if (name.endsWith('.gz')) {
      assert.ok(plain.equals(committed[name.slice(0, -3)]), `${name} is not ${name.slice(0, -3)}`);
    } else if (!name.endsWith('.txt')) bytes += gzipSync(plain).length;
  }
  console.log(`# the page: ${(bytes / 1000).toFixed(0)} kB compressed`);
  assert.ok(bytes < 300_000);
});

test('the lock file names no host', () => {
  assert.doesNotMatch(readFileSync(join(PAGE, 'package-lock.json'), 'utf8'), /"resolved"/);
});

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inAllLooks, open, SIZES, startBrowser, startWorld, until, WITHIN_MS } from './harness.mjs';

let world, browser;

before(async () => {
  [world, browser] = await Promise.all([startWorld(), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await world?.end();
});

test('a wrong password is refused in words, the right one leads in, and logging out leads out', async (t) => {
  const page = await open(t, browser, world);
  await page.getByRole('heading', { name: 'himbeerecouch' }).waitFor();
  await inAllLooks(page, 'login');
  await page.getByLabel('User').fill('nobody');
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('User or password is wrong.').waitFor();
  await page.getByLabel('User').fill(world.operator.name);
  await page.getByLabel('Password').fill(world.operator.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('heading', { name: 'Pis', exact: true }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Pis', exact: true }).waitFor();
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('button', { name: 'Log in' }).waitFor();
});

test('with no Pi the page says what to do, and a Pi that comes is there without a reload', async (t) => {
  const page = await open(t, browser, world, { as: world.operator });
  await page.getByRole('heading', { name: 'No Pi has reported yet' }).waitFor();
  await inAllLooks(page, 'nobody');
  await world.do('start_daemon');
  await page.getByRole('row').filter({ hasText: world.mac_id }).filter({ hasText: 'online' }).waitFor();
});

test('a Pi that waits is enrolled by an admin, and by nobody else', async (t) => {
  const waiting = 20_000_001;
  await world.do('start_waiting', { mac_id: waiting });
  const page = await open(t, browser, world, { as: world.admin });
  await page.getByText('A Pi waits to be enrolled').waitFor();
  await inAllLooks(page, 'waiting');
  await page.getByRole('button', { name: 'Enrol' }).click();
  await page.getByRole('row').filter({ hasText: String(waiting) }).filter({ hasText: 'online' }).waitFor();
  await page.getByText('A Pi waits to be enrolled').waitFor({ state: 'detached' });
  const asOperator = await open(t, browser, world, { as: world.operator });
  await asOperator.getByRole('button', { name: 'Look for new Pis' }).waitFor();
  await world.do('start_waiting', { mac_id: waiting + 1 });
  await asOperator.getByRole('button', { name: 'Look for new Pis' }).click();
  await asOperator.getByText('A Pi waits to be enrolled').waitFor();
  assert.equal(await asOperator.getByRole('button', { name: 'Enrol' }).getAttribute('title'), 'Only an admin can enrol a Pi.');
  const asReader = await open(t, browser, world, { as: world.reader });
  await asReader.getByText('read-only').waitFor();
  assert.equal(await asReader.getByRole('button', { name: /^Look/ }).count(), 0);
});

test('a Pi that dies turns offline by the time that passes, without any change arriving', async (t) => {
  await world.do('fleet', { count: 1, first: 7777 });
  const page = await open(t, browser, world, { as: world.operator });
  const row = page.getByRole('row').filter({ hasText: '7777' });
  await row.filter({ hasText: 'online' }).waitFor();
  // Two seconds before its time is over.
  await world.do('fleet', { count: 1, first: 7777, age_s: 88 });
  await row.filter({ hasText: 'offline' }).waitFor();
});

test('a disk that can’t be written is a warning, in the list and at the Pi', async (t) => {
  await world.do('fleet', { count: 42, first: 8000 });
  const page = await open(t, browser, world, { as: world.operator });
  const row = page.getByRole('row').filter({ hasText: '8041' });
  await row.filter({ hasText: 'disk read-only' }).getByRole('link').click();
  await page.getByRole('region', { name: 'What the Pi tells of itself' }).getByText('disk read-only').waitFor();
  await inAllLooks(page, 'pi-read-only-disk');
  for (let macId = 8000; macId < 8042; macId += 1) await world.do('save', { document: { _id: `${macId}_heartbeat`, _deleted: true }, status: true });
});

test('a heartbeat that makes no sense takes no other Pi away, and none from the future is alive', async (t) => {
  await world.do('fleet', { count: 1, first: 5000 });
  const page = await open(t, browser, world, { as: world.operator });
  const sound = page.getByRole('row').filter({ hasText: '5000' }).filter({ hasText: 'online' });
  await sound.waitFor();
  const code = '"><img src=x onerror="window.taken = 1">';
  const all = { state: code, timestamp: 7, hostname: code, ip: {}, versions: null, health: null, programs: { a: null, constructor: { state: 'constructor' } }, rejected: 5 };
  const each = [
    all,
    { hostname: 5, health: { load: 5, cpu_temperature_c: 'x' }, rejected: [null, {}], versions: { himbeerecouch: {}, model: code } },
    { programs: { [code]: { name: {}, state: {}, error: { a: 1 }, failures: [null], since: [], restarts: {}, rev: 5 } } },
    { programs: 'abc', rejected: [{ id: code, reason: {} }], interval_s: 'x', boot_time: {} },
    { hostname: 'n'.repeat(500), ip: '1'.repeat(500), versions: { model: 'm'.repeat(500) }, programs: { ['p'.repeat(300)]: { name: 'p'.repeat(300), rev: 'r'.repeat(300), state: 's'.repeat(300), error: 'e'.repeat(500) } } },
  ];
  const common = { type: 'heartbeat', state: 'running', interval_s: 30, timestamp: new Date().toISOString() };
  const macIds = each.map((_, index) => 5001 + index);
  for (const [index, macId] of macIds.entries()) {
    await world.do('save', { document: { _id: `${macId}_heartbeat`, ...common, ...each[index] }, status: true });
    await world.do('save', { document: { _id: `${macId}_log`, type: 'log', programs: { a: { lines: 5 }, b: null } }, status: true });
  }
  await world.do('save', { document: { _id: '5001:byhand', type: 5001, name: 5, modules: {} } });
  await world.do('save', { document: { _id: '5001:other', type: 5001, name: {}, modules: {} } });
  // As the first thing that is read, and as a change.
  for (const again of [false, true]) {
    if (again) await page.reload();
    for (const macId of macIds) await page.getByRole('row').filter({ hasText: String(macId) }).waitFor();
    await page.getByRole('searchbox').fill('50');
    await sound.waitFor();
    await page.getByRole('searchbox').fill('');
  }
  for (const macId of macIds) {
    await page.goto(`${world.url}#/pi/${macId}`);
    await page.getByRole('heading', { name: 'Programs' }).waitFor();
    await page.getByText('Asking the database').waitFor({ state: 'detached' });
    await page.setViewportSize(SIZES.phone);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${macId} is too wide`);
    await page.setViewportSize(SIZES.desk);
  }
  assert.equal(await page.evaluate(() => window.taken), undefined);
  await world.do('fleet', { count: 1, first: 5010, age_s: -86_400 });
  await page.goto(`${world.url}#/`);
  await page.getByRole('row').filter({ hasText: '5010' }).filter({ hasText: 'offline' }).filter({ hasNotText: 'just now' }).waitFor();
  for (const macId of [...macIds, 5010]) await world.do('save', { document: { _id: `${macId}_heartbeat`, _deleted: true }, status: true });
  await page.getByRole('row').filter({ hasText: '5010' }).waitFor({ state: 'detached' });
});

test('a server that is gone is said, no Pi is shown alive meanwhile, and it is mended by itself', async (t) => {
  const page = await open(t, browser, world, { as: world.operator });
  const row = page.getByRole('row').filter({ hasText: world.mac_id });
  await row.filter({ hasText: 'online' }).waitFor();
  await world.do('stop_web');
  await page.getByText('Connection lost').waitFor();
  await row.filter({ hasText: 'unknown' }).waitFor();
  assert.equal(await page.getByText('online', { exact: true }).count(), 0);
  await inAllLooks(page, 'lost');
  await world.do('start_web');
  await page.getByText('Connection lost').waitFor({ state: 'detached' });
  await row.filter({ hasText: 'online' }).waitFor();
});

test('a thousand Pis scroll, those that need attention first, and the filter finds one', async (t) => {
  await world.do('fleet', { count: 1000 });
  const startedMs = performance.now();
  const page = await open(t, browser, world, { as: world.operator });
  await page.getByRole('row').filter({ hasText: 'lab-' }).first().waitFor();
  console.log(`# login and first view of 1,000 Pis: ${(performance.now() - startedMs).toFixed(0)} ms`);
  await page.reload({ waitUntil: 'commit' });
  await page.getByRole('row').filter({ hasText: 'lab-' }).first().waitFor();
  const shownMs = await page.evaluate(() => performance.now());
  console.log(`# first view of 1,000 Pis after a reload: ${shownMs.toFixed(0)} ms`);
  await until(async () => /^\d{4}/.test(await page.getByRole('button', { name: /^All/ }).innerText().then((text) => text.replace('All ', ''))), 'a thousand');
  await inAllLooks(page, 'fleet');
  const drawn = await page.locator('[data-row]').count();
  assert.ok(drawn < 120, `${drawn} rows are drawn`);
  // Through all of them: in each frame there are rows in sight, never a hole.
  const holes = await page.evaluate(async () => {
    let empty = 0;
    for (let top = 0; top < document.documentElement.scrollHeight; top += 600) {
      scrollTo(0, top);
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const there = document.elementFromPoint(innerWidth / 3, innerHeight / 2);
      if (!there?.closest('[data-row], main') || there.closest('.spacer')) empty += 1;
    }
    return empty;
  });
  assert.equal(holes, 0);
  const first = await page.locator('[data-row="0"]').count();
  assert.equal(first, 0);
  await page.getByRole('searchbox').fill('lab-0421');
  await page.getByRole('row').filter({ hasText: 'lab-0421' }).waitFor();
  assert.equal(await page.locator('[data-row]').count(), 1);
  await page.getByRole('searchbox').fill('');
  await page.getByRole('button', { name: /^Failing/ }).click();
  await page.locator('[data-row="0"]').filter({ hasText: 'heater' }).waitFor();
  await page.locator('[data-row="0"] a').focus();
  await page.keyboard.press('ArrowDown');
  assert.equal(await page.evaluate(() => document.activeElement.closest('[data-row]')?.dataset.row), '1');
  await page.keyboard.press('Enter');
  await page.waitForURL(/#\/pi\/\d+$/, { timeout: WITHIN_MS });
});

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inAllLooks, login, open, startBrowser, startWorld, until } from './harness.mjs';

let world, browser;

before(async () => {
  [world, browser] = await Promise.all([startWorld(), startBrowser()]);
  await world.do('start_daemon');
});

after(async () => {
  await browser?.close();
  await world?.end();
});

const rowOf = (page, text) => page.getByRole('row').filter({ hasText: text });

test('a database that is gone is said with its reason, and what changed meanwhile is there once it is back', async (t) => {
  const page = await open(t, browser, world, { as: world.operator });
  await rowOf(page, world.mac_id).filter({ hasText: 'online' }).waitFor();
  const ofPi = await page.context().newPage();
  await ofPi.goto(`${world.url}#/pi/${world.mac_id}`);
  await ofPi.getByText('New lines are here within two seconds').waitFor();
  await world.do('stop_server');
  // Nothing is said of the Pi but that nothing is known.
  await ofPi.getByText('Connection lost').waitFor();
  await ofPi.getByText('Whether the Pi is online is not known.').first().waitFor();
  assert.equal(await ofPi.getByText('not online').count(), 0);
  assert.equal(await ofPi.getByText('Daemon up').count(), 0);
  await ofPi.close();
  await page.getByText('Connection lost').waitFor();
  await rowOf(page, world.mac_id).filter({ hasText: 'unknown' }).waitFor();
  // Who opens the page now sees why there is nothing, and needs to do nothing about it.
  const late = await page.context().newPage();
  await late.goto(world.url);
  await late.getByText('It is tried again by itself').waitFor();
  await inAllLooks(late, 'away');
  await world.do('start_server');
  await rowOf(late, world.mac_id).filter({ hasText: 'online' }).waitFor();
  await late.close();
  await world.do('save', { document: { _id: 'name:back-again', type: 'name', mac_id: Number(world.mac_id) } });
  await page.getByText('Connection lost').waitFor({ state: 'detached' });
  await rowOf(page, 'back-again').filter({ hasText: 'online' }).waitFor();
});

test('an answer that never comes is noticed, and no Pi is alive on the strength of an old one', async (t) => {
  const page = await open(t, browser, world, { as: world.operator });
  await rowOf(page, world.mac_id).filter({ hasText: 'online' }).waitFor();
  // Everything is swallowed from here on, as by a network that drops what it is given.
  await page.route('**/couch/**', () => {});
  await page.getByText('Connection lost').waitFor();
  await rowOf(page, world.mac_id).filter({ hasText: 'unknown' }).waitFor();
  await page.unroute('**/couch/**');
  await page.getByRole('button', { name: 'Try now' }).click();
  await rowOf(page, world.mac_id).filter({ hasText: 'online' }).waitFor();
});

test('a browser whose clock is a year ahead judges by the server’s', async (t) => {
  const page = await open(t, browser, world);
  await page.clock.install({ time: new Date(Date.now() + 365 * 86_400_000) });
  await page.reload();
  await page.getByLabel('User').fill(world.operator.name);
  await page.getByLabel('Password').fill(world.operator.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await rowOf(page, world.mac_id).filter({ hasText: 'online' }).waitFor();
});

test('who is no longer logged in is asked to log in, and is back where they were', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: `#/pi/${world.mac_id}` });
  await page.getByText('online', { exact: true }).waitFor();
  await page.context().clearCookies();
  // The next request finds it out.
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await page.getByRole('button', { name: 'Log in' }).waitFor();
  await page.getByLabel('User').fill(world.operator.name);
  await page.getByLabel('Password').fill(world.operator.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('online', { exact: true }).waitFor();
  assert.match(page.url(), new RegExp(`#/pi/${world.mac_id}$`));
});

test('a tab goes by who logged in last in the other one: what it writes is in that name', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: `#/pi/${world.mac_id}` });
  await page.getByRole('button', { name: 'Reboot' }).waitFor();
  const other = await page.context().newPage();
  await other.goto(world.url);
  await other.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('button', { name: 'Log in' }).waitFor();
  await login(other, world.reader);
  await page.getByText('read-only').waitFor();
  await page.getByText(world.reader.name, { exact: true }).waitFor();
  await page.getByText('Asking the database').waitFor({ state: 'detached' });
  await other.evaluate(async ([name, password]) => {
    const headers = { 'Content-Type': 'application/json' };
    await fetch('couch/_session', { method: 'POST', headers, body: JSON.stringify({ name, password }) });
    new BroadcastChannel('himbeerecouch.session').postMessage(null);
  }, [world.operator.name, world.operator.password]);
  await page.getByText(world.operator.name, { exact: true }).waitFor();
  await page.getByText('read-only').waitFor({ state: 'detached' });
  await page.getByText('Asking the database').waitFor({ state: 'detached' });
});

test('a tab that nobody sees asks for nothing, and is up to date as soon as somebody does', async (t) => {
  const page = await open(t, browser, world);
  await page.clock.install();
  await page.reload();
  await login(page, world.operator);
  await rowOf(page, world.mac_id).filter({ hasText: 'online' }).waitFor();
  const show = (visible) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, !visible);
  await show(false);
  const ended = page.waitForEvent('requestfailed', (request) => request.url().includes('_changes'));
  await page.clock.fastForward(31_000);
  await ended;
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await world.do('save', { document: { _id: 'name:unseen', type: 'name', mac_id: 424242 } });
  await page.waitForTimeout(1000);
  assert.deepEqual(asked, []);
  await show(true);
  await rowOf(page, 'unseen').filter({ hasText: 'never seen' }).waitFor();
  await rowOf(page, world.mac_id).filter({ hasText: 'online' }).waitFor();
});

test('who may not read the database is told so, and what would help', async (t) => {
  const page = await open(t, browser, world, { as: world.stranger });
  await page.getByText('sam may not read what is here.').waitFor();
  await page.getByText('Nothing is known of any Pi.').waitFor();
  await inAllLooks(page, 'stranger');
});

test('while nothing happens the page asks for nothing but its two long polls', async (t) => {
  const page = await open(t, browser, world, { as: world.operator });
  await rowOf(page, world.mac_id).filter({ hasText: 'online' }).waitFor();
  await world.do('stop_daemon');
  await rowOf(page, world.mac_id).filter({ hasText: 'stopped' }).waitFor();
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.waitForTimeout(5000);
  assert.ok(asked.length <= 4, asked.join('\n'));
});

test('without a status database the heartbeats come from the other one, and that is said', async (t) => {
  await world.do('drop_status');
  await world.do('start_daemon');
  const page = await open(t, browser, world, { as: world.operator });
  await page.getByText('There is no database').waitFor();
  await rowOf(page, world.mac_id).filter({ hasText: 'online' }).waitFor();
  await until(async () => (await page.getByRole('status').first().innerText()).includes('live'), 'live');
});

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inAllLooks, open, startBrowser, startWorld, until } from './harness.mjs';

const TICKER = 'import time\n\ndef main():\n    number = 0\n    while not should_quit():\n        number += 1\n        log("tick", number)\n        time.sleep(0.5)\n';
const CRASHER = 'import helper\n\ndef main():\n    log("about to fail")\n    helper.fail({})\n';
const HELPER = 'def fail(readings):\n    return readings["humidity"]\n';
const FLOOD = 'def main():\n    for number in range(20000):\n        print("flood", number)\n    import time\n    while not should_quit():\n        time.sleep(1)\n';

let world, browser, here;

before(async () => {
  [world, browser] = await Promise.all([startWorld(), startBrowser()]);
  here = `#/pi/${world.mac_id}`;
  await world.do('start_daemon');
});

after(async () => {
  await browser?.close();
  await world?.end();
});

const program = (id, code, more = {}) => world.do('save', { document: { _id: id, type: Number(world.mac_id), name: id, code, ...more } });
const card = (page, name) => page.getByRole('article', { name });

test('a Pi with nothing on it says what it is and how one begins', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  await page.getByText('No program is saved for this Pi.').waitFor();
  await page.getByText('online', { exact: true }).waitFor();
  await inAllLooks(page, 'pi-empty');
});

test('what is saved elsewhere shows up, runs, and its log lines arrive while one looks on', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  await page.getByText('No program is saved for this Pi.').waitFor();
  await program('ticker', TICKER);
  await card(page, 'ticker').getByText('running').waitFor();
  await card(page, 'ticker').getByText('as saved').waitFor();
  await until(async () => /tick \d+/.test(await page.getByRole('log').innerText()), 'a line');
  const seen = Number(/tick (\d+)\s*$/.exec(await page.getByRole('log').innerText())[1]);
  await page.getByText(`tick ${seen + 3}`, { exact: true }).waitFor();
  const lines = (await page.getByRole('log').innerText()).match(/tick \d+/g);
  assert.deepEqual(lines, lines.map((_, index) => `tick ${index + Number(lines[0].slice(5))}`), 'none is missing, none is there twice');
});

test('the log stops while it is paused, is searched, and goes on with what was printed meanwhile', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  const log = page.getByRole('log');
  await until(async () => /tick \d+/.test(await log.innerText()), 'a line');
  await page.getByRole('button', { name: 'Pause' }).click();
  const paused = await log.innerText();
  await page.getByText(/Paused: \d+ more lines? since/).waitFor();
  assert.equal(await log.innerText(), paused);
  await page.getByRole('button', { name: 'Go on' }).click();
  await until(async () => (await log.innerText()).length > paused.length, 'more lines');
  await page.getByRole('searchbox', { name: 'Search the log' }).fill('tick 2');
  await page.getByText(/lines? (has|have) that/).waitFor();
  assert.ok((await log.locator('.text').allInnerTexts()).every((text) => text.includes('tick 2')));
  assert.ok((await log.locator('mark').count()) > 0);
  await page.getByRole('searchbox', { name: 'Search the log' }).fill('no such line');
  await page.getByText('No line has that.').waitFor();
});

test('the Pi is told that somebody looks on, also where another one stops looking, and no more when all have left', async (t) => {
  const watched = () => world.do('get', { id: `${world.mac_id}_watch` });
  const page = await open(t, browser, world, { as: world.operator, path: here });
  const first = await until(watched, 'a watch document');
  assert.ok(Date.parse(first.until) > Date.now());
  await world.do('delete', { id: first._id });
  await until(watched, 'the document again');
  await page.getByRole('link', { name: 'Pis', exact: true }).click();
  await until(async () => (await watched()) === null, 'no watch document');
});

test('lines that were dropped leave a mark', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  await program('flood', FLOOD);
  await page.getByText(/\d+ lines dropped: it printed too fast/).waitFor();
  await world.do('delete', { id: 'flood' });
  await card(page, 'flood').waitFor({ state: 'detached' });
});

test('a crash shows its traceback, and each line of the program leads to its place in the editor', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  const rev = await program('crasher', CRASHER, { modules: { helper: HELPER } });
  const crasher = card(page, 'crasher');
  await crasher.getByText('crashed').first().waitFor();
  await crasher.getByText('KeyError').first().waitFor();
  await crasher.getByText(/The last .*failure/).click();
  await crasher.getByLabel('What it had printed before').first().getByText('about to fail').waitFor();
  await inAllLooks(page, 'pi-crash');
  await crasher.getByRole('link', { name: 'helper, line 2' }).first().click();
  await page.waitForURL((url) => url.hash === `${here}/edit/crasher?module=helper&line=2&rev=${rev}`);
});

test('a program is stopped, started and removed, and every version is in the history', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  const ticker = card(page, 'ticker');
  await ticker.getByRole('button', { name: 'Stop ticker' }).click();
  await ticker.getByText('stopped', { exact: true }).waitFor();
  await ticker.getByRole('button', { name: 'Start ticker' }).click();
  await ticker.getByText('running').waitFor();
  await page.getByRole('button', { name: 'Remove crasher' }).click();
  await inAllLooks(page, 'pi-remove');
  await page.keyboard.press('Escape');
  assert.ok(await world.do('get', { id: 'crasher' }));
  await page.getByRole('button', { name: 'Remove crasher' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await card(page, 'crasher').waitFor({ state: 'detached' });
  const kept = await Promise.all((await world.do('ids', { prefix: 'deployment:' })).map((id) => world.do('get', { id })));
  const of = (id) => kept.filter((doc) => doc.program === id).sort((a, b) => parseInt(a.rev) - parseInt(b.rev));
  assert.deepEqual(of('ticker').map(({ by, document }) => [by, document.stopped ?? false]), [[null, false], ['olga', true], ['olga', false]]);
  assert.deepEqual(of('crasher').map(({ by, removed, document }) => [by, removed ?? false, document?.code ?? null]), [[null, false, CRASHER], ['olga', true, null]]);
});

test('what somebody else saved meanwhile is not overwritten', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  const ticker = card(page, 'ticker');
  await ticker.getByText('running').waitFor();
  let rev;
  await page.route(/raspberries\/ticker$/, async (route) => {
    // In the last moment, when the page has looked already.
    if (route.request().method() === 'PUT') rev = await program('ticker', TICKER.replace('tick', 'tock'));
    await route.continue();
  });
  await ticker.getByRole('button', { name: 'Stop ticker' }).click();
  await ticker.getByText('Somebody else has saved this document meanwhile.').waitFor();
  assert.equal((await world.do('get', { id: 'ticker' }))._rev, rev);
});

test('a command runs, with what it printed, its exit status, and the history of what was typed', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  const input = page.getByLabel('Command', { exact: true });
  const result = (text) => page.getByRole('listitem').filter({ has: page.locator('code', { hasText: text }) });
  await input.fill('echo plain words');
  await page.keyboard.press('Enter');
  await result('echo plain words').getByText('exit status 0').waitFor();
  assert.equal(await result('echo plain words').getByLabel(/^Standard output/).innerText(), 'plain words\n');
  await input.fill('echo out; echo err >&2; exit 3');
  await page.keyboard.press('Enter');
  const failed = result('exit 3');
  await failed.getByText('exit status 3').waitFor();
  assert.equal(await failed.getByLabel(/^Standard error/).innerText(), 'err\n');
  await input.fill('no-such-program');
  await page.keyboard.press('Enter');
  await result('no-such-program').getByText('could not be started').waitFor();
  await input.fill('sleep 600');
  await page.keyboard.press('Enter');
  await result('sleep 600').getByText('runs', { exact: true }).waitFor();
  await input.fill('echo pressed twice');
  await page.locator('form.commandline').evaluate((form) => [form.requestSubmit(), form.requestSubmit()]);
  await result('echo pressed twice').first().getByText('exit status 0').waitFor();
  assert.equal(await result('echo pressed twice').count(), 1);
  await inAllLooks(page, 'pi-commands');
  await result('sleep 600').getByRole('button', { name: /^Cancel/ }).click();
  await result('sleep 600').getByText('cancelled').waitFor();
  await input.press('ArrowUp');
  assert.equal(await input.inputValue(), 'echo pressed twice');
  await input.press('ArrowUp');
  assert.equal(await input.inputValue(), 'sleep 600');
  await input.press('ArrowUp');
  await input.press('ArrowUp');
  assert.equal(await input.inputValue(), 'echo out; echo err >&2; exit 3');
  await page.reload();
  await result('exit 3').getByText('exit status 3').waitFor();
});

test('the daemon is restarted after a question, the LED blinks, and the Pi gets a name that is its own', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  await page.getByText('online', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Blink' }).click();
  await page.getByText('Its LED blinks for a minute.').waitFor();
  const started = (await world.do('heartbeat')).started;
  await page.getByRole('button', { name: 'Restart daemon' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Restart daemon' }).click();
  await until(async () => (await world.do('heartbeat')).started > started, 'another start');
  await page.getByRole('listitem').filter({ hasText: 'restart the daemon' }).getByText('exit status 0').waitFor();
  await world.do('save', { document: { _id: 'name:taken', type: 'name', mac_id: 5 } });
  await page.getByRole('button', { name: 'Rename' }).click();
  await page.getByLabel('Name', { exact: true }).fill('123');
  await page.keyboard.press('Enter');
  await page.getByText('would be taken for one').waitFor();
  await page.getByLabel('Name', { exact: true }).fill('taken');
  await page.keyboard.press('Enter');
  await page.getByText('The Pi 5 has that name already.').waitFor();
  await page.getByLabel('Name', { exact: true }).fill('lab-thermo');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'lab-thermo' }).waitFor();
  assert.equal((await world.do('get', { id: 'name:lab-thermo' })).mac_id, Number(world.mac_id));
});

test('who may only read sees everything, and why nothing can be done', async (t) => {
  const page = await open(t, browser, world, { as: world.reader, path: here });
  await card(page, 'ticker').getByText('running').waitFor();
  await page.getByText('read-only').waitFor();
  await inAllLooks(page, 'pi-reader');
  for (const name of ['Rename', 'Blink', 'Restart daemon', 'Reboot', 'Power off', 'Stop ticker', 'Remove ticker']) {
    const button = page.getByRole('button', { name });
    assert.equal(await button.getAttribute('aria-disabled'), 'true', name);
    assert.match(await button.getAttribute('title'), /himbeerecouch_operator/);
    await button.click({ force: true });
  }
  assert.equal(await page.getByRole('dialog').count(), 0);
  assert.ok(await page.getByLabel('Command', { exact: true }).isDisabled());
});

test('a daemon that is stopped is shown as stopped; one that dies is offline, and so is what it ran', async (t) => {
  const page = await open(t, browser, world, { as: world.operator, path: here });
  await card(page, 'ticker').getByText('running').waitFor();
  await world.do('stop_daemon');
  await page.getByText('was stopped on purpose').waitFor();
  await card(page, 'ticker').getByText('not running').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Reboot' }).getAttribute('title'), 'The Pi is not online.');
  await world.do('start_daemon');
  await card(page, 'ticker').getByText('running', { exact: true }).waitFor();
  await world.do('kill_daemon');
  // As if that had been a while ago; the rest of its time passes here, and no change arrives.
  await world.do('age', { age_s: 85 });
  await page.getByText('This Pi is off, or has no network.').waitFor();
  await card(page, 'ticker').getByText('was running').waitFor();
  await inAllLooks(page, 'pi-offline');
  await page.getByLabel('Command', { exact: true }).fill('true');
  await page.keyboard.press('Enter');
  await page.getByText('waits: the Pi is not online').waitFor();
});

test('a part of the page that fails says so in its own place, and is there again when asked', async (t) => {
  const thrown = /broken for the test/;
  const page = await open(t, browser, world, { as: world.operator, path: here, expected: [thrown] });
  await page.getByRole('heading', { name: 'Programs' }).waitFor();
  const logged = page.waitForEvent('console', (message) => message.type() === 'error' && thrown.test(message.text()));
  // What only the temperature is written with.
  await page.evaluate(() => {
    const whole = Number.prototype.toFixed;
    window.mend = () => (Number.prototype.toFixed = whole);
    Number.prototype.toFixed = () => {
      throw new Error('broken for the test');
    };
  });
  await world.do('save', { document: { ...(await world.do('heartbeat')), health: { cpu_temperature_c: 50 }, load: [1] }, status: true });
  const failed = page.getByRole('alert').filter({ hasText: 'What the Pi tells of itself can’t be shown' });
  await failed.getByText('broken for the test').waitFor();
  await logged;
  assert.ok((await page.getByRole('heading', { name: 'Log' }).count()) && (await page.getByRole('heading', { name: 'Programs' }).count()));
  await inAllLooks(page, 'pi-part-failed');
  // A view of which all has failed leaves the way to the others.
  await page.getByRole('link', { name: 'himbeerecouch' }).click();
  await page.getByRole('heading', { name: 'This can’t be shown' }).waitFor();
  await page.getByRole('button', { name: 'Log out' }).waitFor();
  await inAllLooks(page, 'view-failed');
  await page.evaluate(() => window.mend());
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.getByRole('row').filter({ hasText: world.mac_id }).filter({ hasText: '50 °C' }).getByRole('link').first().click();
  await page.getByText('50 °C').waitFor();
  assert.equal(await page.getByRole('alert').filter({ hasText: 'can’t be shown' }).count(), 0);
});

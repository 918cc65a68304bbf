/** The pictures of the documents: `PYTHON=.venv/bin/python node tests/page/pictures.mjs` makes them anew. */

import { join } from 'node:path';
import { login, ROOT, SIZES, startBrowser, startWorld, until } from './harness.mjs';

const CRASHER = 'import readings\n\ndef main():\n    log("the humidity is", readings.latest()["humidity"])\n';
const TICKER = 'import time\n\ndef main():\n    while not should_quit():\n        log("it is", time.strftime("%H:%M:%S"))\n        time.sleep(1)\n';

const [world, browser] = await Promise.all([startWorld(), startBrowser()]);
try {
  await world.do('fleet', { count: 240 });
  await world.do('start_daemon');
  const program = (id, code, more) => world.do('save', { document: { _id: id, type: Number(world.mac_id), name: id, code, ...more } });
  await program('clock', TICKER);
  await program('humidity', CRASHER, { modules: { readings: 'def latest():\n    return {"temperature": 21.5}\n' } });
  await world.do('save', { document: { _id: 'name:lab-thermo', type: 'name', mac_id: Number(world.mac_id) } });
  const page = await (await browser.newContext({ viewport: SIZES.desk, colorScheme: 'light', reducedMotion: 'reduce' })).newPage();
  await page.goto(world.url);
  await login(page, world.operator);
  await page.getByRole('row').filter({ hasText: 'lab-' }).first().waitFor();
  await page.mouse.move(0, 0);
  await page.screenshot({ path: join(ROOT, 'docs/page-fleet.png') });
  await page.goto(`${world.url}#/pi/${world.mac_id}`);
  await page.getByText('KeyError').first().waitFor();
  await page.getByLabel('Command', { exact: true }).fill('uname -sm');
  await page.keyboard.press('Enter');
  await page.getByText('exit status 0').waitFor();
  await until(async () => (await page.getByRole('log').innerText()).split('it is').length > 8, 'lines');
  await page.evaluate(() => document.activeElement.blur());
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.screenshot({ path: join(ROOT, 'docs/page-pi.png') });
} finally {
  await browser.close();
  await world.end();
}

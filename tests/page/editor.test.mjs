/** The editor, in a real browser, with a real daemon. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inAllLooks, login, open, SIZES, startBrowser, startWorld, until } from './harness.mjs';

let world, browser;

before(async () => {
  [world, browser] = await Promise.all([startWorld(), startBrowser()]);
  await world.do('start_daemon');
});

after(async () => {
  await browser?.close();
  await world?.end();
});

const LOOP = 'def main():\n    while not should_quit():\n        pass\n';
const code = (page) => page.getByRole('textbox', { name: /^Code of the module/ });
const tab = (page, name) => page.getByRole('tab', { name });
const saved = async (id) => (await world.do('get', { id }))?.code;
const answer = (page, words) => page.locator('.answer').filter({ hasText: words });
const notice = (page, words) => page.locator('.notice').filter({ hasText: words });
const press = (page, name, options) => page.getByRole('button', { name, ...options }).click();

/** Saves, and waits until the page has told that of the new revision. */
async function save(page, id, words) {
  const before = (await world.do('get', { id }))?._rev;
  await press(page, 'Save', { exact: true });
  return told(page, id, words, before);
}

async function told(page, id, words, before) {
  const document = await until(async () => {
    const now = await world.do('get', { id });
    return now && now._rev !== before && now;
  }, 'a new revision');
  const [generation, hash] = document._rev.split('-');
  await answer(page, words)
    .filter({ hasText: `${generation}-${hash.slice(0, 7)}` })
    .waitFor();
  return document;
}

/** Opens the editor of a program as it is. */
function edit(t, id, { as = world.operator, query = '', ...options } = {}) {
  return open(t, browser, world, { as, path: `#/pi/${world.mac_id}/edit/${encodeURIComponent(id)}${query}`, ...options });
}

/** Saves a program as somebody else, and opens it. */
async function editing(t, name, fields = {}, options = {}) {
  const id = `${world.mac_id}:${name}`;
  await world.do('save', { document: { _id: id, type: Number(world.mac_id), name, code: LOOP, ...fields } });
  const page = await edit(t, id, options);
  await code(page).waitFor();
  return { page, id };
}

/** Puts other code in place of what is there, by the keyboard. */
async function type(page, text) {
  await code(page).click();
  await page.keyboard.press('ControlOrMeta+a');
  // First: what the browser itself puts in place of several lines it gives inline styles, which the policy refuses.
  await page.keyboard.press('Delete');
  await page.keyboard.insertText(text);
}

test('from the login to a running program: the Pi, a name, the code, save, and its line in the log', async (t) => {
  const page = await open(t, browser, world);
  await login(page, world.operator);
  await page.getByRole('row').filter({ hasText: world.mac_id }).getByRole('link').first().click();
  await page.getByRole('link', { name: 'New program' }).click();
  await world.do('save', { document: { _id: 'by-hand-first', type: world.mac_id, name: 'taken', stopped: true, code: LOOP } });
  await page.getByLabel('Name').fill('taken');
  await press(page, 'Write it');
  await page.getByRole('alert').getByText('has a program taken already').waitFor();
  await page.getByLabel('Name').fill('first');
  await inAllLooks(page, 'new-program');
  await press(page, 'Write it');
  await page.getByRole('heading', { name: 'first', level: 1 }).waitFor();
  await answer(page, 'Not saved yet').or(answer(page, 'not saved yet')).waitFor();
  await page.getByText('No syntax errors.').waitFor();
  const id = `${world.mac_id}:first`;
  const document = await save(page, id, 'Saved. Running');
  assert.deepEqual([document.type, document.name], [Number(world.mac_id), 'first']);
  assert.equal((await world.do('heartbeat')).programs[id].rev, document._rev);
  await inAllLooks(page, 'editor-running');
  const tops = await page.locator('.editor-buttons button').evaluateAll((each) => each.map((one) => one.getBoundingClientRect().top));
  assert.equal(new Set(tops).size, 1, 'there is room for the buttons beside each other');
  const kept = [`deployment:${id}:${document._rev}`];
  await until(
    async () => String(await world.do('ids', { prefix: `deployment:${id}:` })) === String(kept),
    'it is in the history',
  );
  await page.getByRole('log').getByText('hello from the Pi').waitFor();
  await page.getByRole('navigation').getByRole('link').last().click();
  await page.getByRole('article', { name: 'first' }).getByText('as saved').waitFor();
});

test('the whole way goes by the keyboard alone, and each step begins where there is something to do', async (t) => {
  const page = await open(t, browser, world);
  const focused = (what) => until(() => page.evaluate((selector) => document.activeElement.matches(selector), what), `the focus on ${what}`);
  await focused('input[name=name]');
  await page.keyboard.type(world.operator.name);
  await page.keyboard.press('Tab');
  await page.keyboard.type(world.operator.password);
  await page.keyboard.press('Enter');
  await page.getByRole('row').filter({ hasText: world.mac_id }).filter({ hasText: 'online' }).waitFor();
  for (let tabs = 0; tabs < 15 && !(await page.evaluate(() => /^New program/.test(document.activeElement.innerText))); tabs += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await focused('main form input');
  await page.keyboard.type('by-keys');
  await page.keyboard.press('Enter');
  await page.getByText('No syntax errors.').waitFor();
  await focused('main h1');
  for (const _ of 'twice') await page.keyboard.press('ControlOrMeta+s');
  await answer(page, 'Saved. Running').waitFor();
  // However often it was pressed: each revision begins the program anew.
  assert.match((await world.do('get', { id: `${world.mac_id}:by-keys` }))._rev, /^1-/);
});

test('a crash is shown with its traceback, and a place in it leads to the module and the line', async (t) => {
  const helper = 'def read():\n    value = 41\n\n\n    return value + None\n';
  const { page, id } = await editing(t, 'crasher', { modules: { helper } });
  await answer(page, 'Running').waitFor();
  await type(page, 'import helper\n\ndef main():\n    helper.read()\n');
  await page.keyboard.press('ControlOrMeta+s');
  await answer(page, 'Crashed').waitFor();
  const traceback = page.getByRole('group', { name: 'Traceback' });
  await traceback.getByText('TypeError: unsupported operand').waitFor();
  await inAllLooks(page, 'editor-crash');
  await traceback.getByRole('link', { name: 'helper, line 5' }).click();
  await tab(page, 'helper')
    .and(page.getByRole('tab', { selected: true }))
    .waitFor();
  assert.match(await page.locator('.cm-line.cm-place').innerText(), /return value \+ None/);
  await inAllLooks(page, 'editor-place');
  await page.keyboard.insertText('# ');
  await tab(page, /helper.*not saved/).waitFor();
  assert.equal(await page.locator('.cm-line.cm-place').count(), 0);
  assert.equal((await world.do('get', { id })).modules.helper, helper);
});

test('syntax errors are shown at their lines and counted at the tabs, and saving asks first', async (t) => {
  const { page, id } = await editing(t, 'broken', { modules: { other: 'x = "\\d"\n' } });
  await tab(page, /other.*1 warning/).waitFor();
  await type(page, 'def main():\n    print("never"\n\n    return 1 +\n');
  await tab(page, /main.*1 error/).waitFor();
  await page.getByText(/1 syntax error: main, line \d: /).waitFor();
  await page.locator('.cm-lint-marker-error').waitFor();
  await inAllLooks(page, 'editor-syntax');
  await press(page, 'Save', { exact: true });
  const dialog = page.getByRole('dialog', { name: 'Save it with syntax errors?' });
  await dialog.getByText(/main, line \d/).waitFor();
  await inAllLooks(page, 'editor-syntax-asked');
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  assert.equal(await saved(id), LOOP);
  await press(page, 'Save', { exact: true });
  await press(page, 'Save anyway');
  await answer(page, 'Crashed').waitFor();
  await page.getByRole('group', { name: 'Traceback' }).getByText('SyntaxError').first().waitFor();
});

test('a program that ends is finished, one that is stopped is not run, and options are saved with it', async (t) => {
  const { page, id } = await editing(t, 'options');
  await type(page, 'def main():\n    print("once")\n');
  await save(page, id, 'Saved. Finished');
  await page.getByLabel('Stopped').check();
  await page.getByLabel('Start it again').selectOption('never');
  await page.getByLabel('Start without the server').uncheck();
  await page.getByLabel('Roll back by itself').check();
  await save(page, id, 'stopped');
  const { restart, offline, rollback, stopped } = await world.do('get', { id });
  assert.deepEqual({ restart, offline, rollback, stopped }, { restart: 'never', offline: false, rollback: true, stopped: true });
});

test('modules are made, renamed and removed, by the keyboard as well, and names that Python refuses are refused', async (t) => {
  const { page, id } = await editing(t, 'modules');
  await press(page, 'New module');
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('class');
  await page.keyboard.press('Enter');
  await dialog.getByRole('alert').getByText('a word of Python').waitFor();
  await dialog.getByLabel('Name').fill('sensors.cpu');
  await inAllLooks(page, 'editor-new-module');
  await page.keyboard.press('Enter');
  await tab(page, 'sensors.cpu')
    .and(page.getByRole('tab', { selected: true }))
    .waitFor();
  await code(page).click();
  await page.keyboard.insertText('def read():\n    return 4\n');
  await press(page, 'New global one');
  await dialog.getByLabel('Name').fill('units');
  await dialog.getByRole('button', { name: 'Add' }).click();
  await tab(page, /global.*units/).focus();
  await page.keyboard.press('ArrowRight');
  await tab(page, 'main')
    .and(page.getByRole('tab', { selected: true }))
    .waitFor();
  await page.keyboard.press('ArrowRight');
  await press(page, 'Rename module');
  await dialog.getByLabel('Name').fill('sensors.gpu');
  await page.keyboard.press('Enter');
  await inAllLooks(page, 'editor-modules');
  let document = await save(page, id, 'Saved. Running');
  assert.deepEqual(
    [document.modules, document.global_modules],
    [{ 'sensors.gpu': 'def read():\n    return 4\n' }, { units: '' }],
  );
  await tab(page, 'sensors.gpu').focus();
  await page.keyboard.press('Delete');
  await dialog.getByRole('button', { name: 'Remove' }).click();
  await tab(page, 'sensors.gpu').waitFor({ state: 'detached' });
  await press(page, 'Rename', { exact: true });
  await dialog.getByLabel('Name').fill('Modules, renamed');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Modules, renamed', level: 1 }).waitFor();
  document = await save(page, id, 'Saved. Running');
  assert.deepEqual([document.name, document.modules], ['Modules, renamed', undefined]);
});

test('Tab indents, Escape and Tab leave the code', async (t) => {
  const { page } = await editing(t, 'keys');
  await type(page, 'x = 1');
  await page.keyboard.press('Home');
  await page.keyboard.press('Tab');
  assert.match(await code(page).innerText(), /^ {4}x = 1/);
  await page.keyboard.press('Escape');
  await page.keyboard.press('Tab');
  assert.equal(await code(page).evaluate((element) => element.contains(element.ownerDocument.activeElement)), false);
});

test('a conflict shows both versions, theirs can be taken over in part, and neither is lost', async (t) => {
  const { page, id } = await editing(t, 'conflict', { code: '# one\n# two\n# three\n# four\n# five\n' + LOOP });
  await type(page, '# mine\n# two\n# three\n# four\n# five\n' + LOOP);
  const theirs = await world.do('save', {
    document: {
      _id: id,
      type: Number(world.mac_id),
      name: 'conflict',
      code: '# one\n# two\n# three\n# four\n# theirs\n' + LOOP,
      restart: 'always',
    },
  });
  await notice(page, 'Somebody else has saved').waitFor();
  await press(page, 'Save', { exact: true });
  await page.getByRole('heading', { name: 'There is another version' }).waitFor();
  await inAllLooks(page, 'editor-conflict');
  await page.setViewportSize(SIZES.phone);
  const covered = await page.locator('.cm-chunkButtons').first().evaluate((buttons) => {
    const line = buttons.parentElement.querySelector('.cm-deletedLine').getBoundingClientRect();
    return buttons.getBoundingClientRect().bottom > line.top + 1;
  });
  assert.equal(covered, false, 'the buttons cover the line that they are for');
  await page.setViewportSize(SIZES.desk);
  assert.equal((await world.do('get', { id }))._rev, theirs);
  // The arrow: not before it is wide again.
  await page.getByRole('button', { name: 'Take this over →' }).last().focus();
  await page.keyboard.press('Enter');
  await page
    .getByRole('row', { name: /restart/ })
    .getByRole('radio')
    .first()
    .check();
  await press(page, 'Save mine as it is now');
  const document = await told(page, id, 'Saved. Running', theirs);
  assert.equal(document.code, '# mine\n# two\n# three\n# four\n# theirs\n' + LOOP);
  assert.equal(document.restart, 'always');
  assert.match((await world.do('get', { id: `deployment:${id}:${theirs}` })).document.code, /# theirs/);
});

test('what is made of both versions survives a reload, and going back to the editor', async (t) => {
  const { page, id } = await editing(t, 'merged', { code: '# one\n# two\n' + LOOP });
  await type(page, '# mine\n# two\n' + LOOP);
  await world.do('save', { document: { _id: id, type: Number(world.mac_id), name: 'merged', code: '# one\n# two\n# theirs\n' + LOOP } });
  await press(page, 'Show both');
  const yours = page.getByRole('textbox', { name: 'main, yours' });
  const write = async (text) => {
    await yours.click();
    await page.keyboard.press('ControlOrMeta+Home');
    await page.keyboard.insertText(text);
    await yours.getByText(text).waitFor();
  };
  await write('# both ');
  page.on('dialog', (dialog) => dialog.accept());
  await page.reload();
  await notice(page, 'There is unsaved work of yours').waitFor();
  await press(page, 'Compare');
  await yours.getByText('# both # mine').waitFor();
  await write('# again ');
  await press(page, 'Decide later');
  await press(page, 'Compare');
  await yours.getByText('# again # both # mine').waitFor();
  await press(page, 'Take theirs');
  await code(page).getByText('# theirs').waitFor();
  await press(page, 'Compare');
  await yours.getByText('# again # both # mine').waitFor();
  await press(page, 'Keep mine');
  await until(async () => (await saved(id)) === '# again # both # mine\n# two\n' + LOOP, 'it is saved');
});

test('what is made of both versions is what one goes on with in the editor', async (t) => {
  const { page, id } = await editing(t, 'postponed');
  await type(page, '# mine\n' + LOOP);
  const theirs = { _id: id, type: Number(world.mac_id), name: 'postponed', code: '# theirs\n' + LOOP, restart: 'always' };
  await world.do('save', { document: theirs });
  await press(page, 'Show both');
  await page.getByRole('row', { name: /restart/ }).getByRole('radio').first().check();
  await page.getByRole('button', { name: 'Take this over' }).first().focus();
  await page.keyboard.press('Enter');
  await press(page, 'Decide later');
  await code(page).getByText('# theirs').waitFor();
  assert.equal(await page.getByLabel('Start it again').inputValue(), 'always');
});

test('who takes the other version keeps the own one in the browser, and can go back to it', async (t) => {
  const { page, id } = await editing(t, 'yield');
  await type(page, '# mine\n' + LOOP);
  await world.do('save', { document: { _id: id, type: Number(world.mac_id), name: 'yield', code: '# theirs\n' + LOOP } });
  await press(page, 'Show both');
  await press(page, 'Take theirs');
  await code(page).getByText('# theirs').waitFor();
  await page.reload();
  await notice(page, 'There is unsaved work of yours').waitFor();
  await inAllLooks(page, 'editor-set-aside');
  await press(page, 'Compare');
  await press(page, 'Keep mine');
  await until(async () => (await saved(id)) === '# mine\n' + LOOP, 'mine is saved');
  await answer(page, 'Saved. Running').waitFor();
  assert.equal(await notice(page, 'There is unsaved work of yours').count(), 0);
});

test('what nobody edits here follows what others save, and a removed program is said to be removed', async (t) => {
  const { page, id } = await editing(t, 'followed');
  await world.do('save', { document: { _id: id, type: Number(world.mac_id), name: 'followed', code: '# newer\n' + LOOP } });
  await code(page).getByText('# newer').waitFor();
  await notice(page, 'Somebody has saved another revision').waitFor();
  await world.do('delete', { id });
  await notice(page, 'This program was removed').waitFor();
  await save(page, id, 'Saved. Running');
  assert.equal(await saved(id), '# newer\n' + LOOP);
});

test('unsaved work survives a reload, and is dropped when asked', async (t) => {
  const { page, id } = await editing(t, 'draft');
  await type(page, '# not saved\n' + LOOP);
  page.once('dialog', (dialog) => dialog.accept());
  await page.reload();
  await notice(page, 'Here is your unsaved work again').waitFor();
  await code(page).getByText('# not saved').waitFor();
  await inAllLooks(page, 'editor-draft');
  assert.equal(await saved(id), LOOP);
  await press(page, 'Drop it');
  await code(page).getByText('# not saved').waitFor({ state: 'detached' });
  await page.reload();
  await answer(page, 'Running').waitFor();
  assert.equal(await notice(page, 'unsaved work').count(), 0);
});

test('a second tab with the same program leaves the unsaved work of the first one alone', async (t) => {
  const { page, id } = await editing(t, 'tabs');
  const second = await page.context().newPage();
  await second.goto(page.url());
  await code(second).waitFor();
  await type(page, '# of the first tab\n' + LOOP);
  const drafts = () =>
    second.evaluate(() => Object.values(localStorage).filter((value) => value.includes('of the first tab')).length);
  await until(async () => (await drafts()) === 1, 'the draft');
  await second.getByRole('navigation').getByRole('link').last().click();
  await second.getByRole('heading', { name: 'Programs' }).waitFor();
  assert.equal(await drafts(), 1);
  await save(page, id, 'Saved. Running');
  await until(async () => (await drafts()) === 0, 'the draft is gone');
});

test('the history has every version that was deployed, with who and when, and leads back to each', async (t) => {
  const { page, id } = await editing(t, 'versions');
  const first = (await world.do('get', { id }))._rev;
  await type(page, '# second\n' + LOOP);
  await save(page, id, 'Saved. Running');
  await press(page, 'History');
  const versions = page.getByRole('list', { name: /^Versions/ }).getByRole('button');
  await until(async () => (await versions.count()) === 2, 'two versions');
  assert.match(await versions.first().innerText(), /olga.*saved now/s);
  await page.getByText('# second').waitFor();
  await inAllLooks(page, 'history');
  await press(page, 'Roll back to it');
  const second = (await world.do('get', { id }))._rev;
  await page.getByRole('dialog').getByRole('button', { name: 'Roll back' }).click();
  const document = await told(page, id, 'Saved. Running', second);
  assert.deepEqual([document.code, Number.parseInt(document._rev)], [LOOP, Number.parseInt(first) + 2]);
  await until(async () => (await world.do('ids', { prefix: `deployment:${id}:` })).length === 3, 'all are in the history');
});

test('a long history is read in pages', async (t) => {
  const { page, id } = await editing(t, 'long');
  for (let number = 40; number > 5; number -= 1) {
    const rev = `${number}-0123`;
    const old = {
      _id: `deployment:${id}:${rev}`,
      type: 'deployment',
      program: id,
      rev,
      mac_id: 1,
      at: '2026-05-01T12:00:00Z',
      by: 'ada',
    };
    await world.do('save', { document: { ...old, document: { type: Number(world.mac_id), name: 'long', code: `# ${number}` } } });
  }
  await press(page, 'History');
  const versions = page.getByRole('list', { name: /^Versions/ }).getByRole('button', { name: 'ada' });
  await until(async () => (await versions.count()) === 30, 'the newest');
  assert.match(await versions.first().innerText(), /40-0123/);
  await press(page, '5 older');
  await until(async () => (await versions.count()) === 35, 'all of them');
  await versions.last().click();
  await page.getByRole('heading', { name: /^6-0123/ }).waitFor();
});

test('a program is removed only when that is confirmed, and its history brings it back', async (t) => {
  const { page, id } = await editing(t, 'removed');
  await press(page, 'Remove', { exact: true });
  await inAllLooks(page, 'editor-remove');
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await until(async () => (await world.do('get', { id })) === null, 'the program is gone');
  await page.getByRole('heading', { name: 'Programs' }).waitFor();
  await page.goto(`${world.url}#/pi/${world.mac_id}/edit/${encodeURIComponent(id)}?history`);
  const versions = page.getByRole('list', { name: /^Versions/ }).getByRole('button');
  await versions.filter({ hasText: 'removed' }).waitFor();
  await versions.last().click();
  await press(page, 'Bring it back');
  await page.getByRole('dialog').getByRole('button', { name: 'Roll back' }).click();
  await answer(page, 'Saved. Running').waitFor();
  assert.equal(await saved(id), LOOP);
});

test('a program is copied to other Pis, and what is there is replaced only where that is asked for', async (t) => {
  await world.do('fleet', { count: 3, first: 9000 });
  await world.do('save', { document: { _id: 'by-hand', type: '9001', name: 'copied', code: '# other' } });
  const { page, id } = await editing(t, 'copied');
  const dialog = page.getByRole('dialog');
  const copy = async () => {
    await press(page, 'Copy to …');
    for (const name of ['lab-0000', 'lab-0001']) await dialog.getByLabel(name).check();
  };
  await copy();
  await inAllLooks(page, 'editor-copy');
  await dialog.getByRole('button', { name: 'Copy to 2 Pis' }).click();
  const copies = page.getByRole('region', { name: 'Copies' });
  await copies.getByRole('listitem').filter({ hasText: 'lab-0001' }).getByText('left alone').waitFor();
  await copies.getByRole('listitem').filter({ hasText: 'lab-0000' }).getByText('saved').waitFor();
  await inAllLooks(page, 'editor-copied');
  assert.equal(await saved('by-hand'), '# other');
  const made = await world.do('get', { id: '9000:copied' });
  assert.deepEqual([made.type, made.code, id], [9000, LOOP, `${world.mac_id}:copied`]);
  await copy();
  await dialog.getByLabel('Replace a program').check();
  await dialog.getByRole('button', { name: 'Copy to 2 Pis' }).click();
  await copies.getByRole('listitem').filter({ hasText: 'lab-0000' }).getByText('has this very program').waitFor();
  await until(async () => (await saved('by-hand')) === LOOP, 'the other one is replaced');
  await until(async () => (await world.do('ids', { prefix: 'deployment:by-hand:' })).length === 2, 'both are in the history');
});

test('who may only read sees the code and no way to change it', async (t) => {
  const { page, id } = await editing(t, 'readonly', {}, { as: world.reader });
  await page.getByText('read-only').first().waitFor();
  await answer(page, 'Running').waitFor();
  const button = page.getByRole('button', { name: 'Save', exact: true });
  assert.match(await button.getAttribute('aria-description'), /lacks the role himbeerecouch_operator/);
  await button.click({ force: true });
  await code(page).click();
  await page.keyboard.insertText('changed');
  assert.match(await code(page).innerText(), /while not should_quit/);
  await inAllLooks(page, 'editor-readonly');
  await page.keyboard.press('ControlOrMeta+s');
  await press(page, 'History');
  assert.equal(await saved(id), LOOP);
});

test('a database that refuses to save is heard, and the work stays', async (t) => {
  const { page, id } = await editing(t, 'refused', {}, { as: world.operator });
  await type(page, '# mine\n' + LOOP);
  const refuse = 'function (doc) { if (doc.type !== "heartbeat") throw {forbidden: "not today"}; }';
  await world.do('save', { document: { _id: '_design/refuse', validate_doc_update: refuse } });
  t.after(() => world.do('delete', { id: '_design/refuse' }));
  await press(page, 'Save', { exact: true });
  await page.getByRole('alert').getByText('not today').waitFor();
  await inAllLooks(page, 'editor-refused');
  assert.equal(await saved(id), LOOP);
  await code(page).getByText('# mine').waitFor();
});

test('a Pi that does not run is said to be so at once, and what was saved runs when it is back', async (t) => {
  const { page, id } = await editing(t, 'later');
  await answer(page, 'Running').waitFor();
  await world.do('stop_daemon');
  await answer(page, 'The daemon of the Pi is stopped').waitFor();
  await type(page, '# later\n' + LOOP);
  await save(page, id, 'Saved. The daemon of the Pi is stopped');
  await inAllLooks(page, 'editor-offline');
  await world.do('start_daemon');
  await answer(page, 'Saved. Running').waitFor();
});

test('a server that is away when somebody saves is said, and saving again does no harm', async (t) => {
  const { page, id } = await editing(t, 'away');
  await answer(page, 'Running').waitFor();
  await type(page, '# kept\n' + LOOP);
  await world.do('stop_web');
  await press(page, 'Save', { exact: true });
  await page.getByRole('alert').getByText('It is not known whether it was saved').waitFor();
  await answer(page, 'unknown').waitFor();
  await world.do('start_web');
  await save(page, id, 'Saved. Running');
  assert.equal(await saved(id), '# kept\n' + LOOP);
});

test('who is logged out while editing finds the work again after the next login', async (t) => {
  const { page, id } = await editing(t, 'logged-out');
  await type(page, '# mine\n' + LOOP);
  await page.context().clearCookies();
  // Whoever asks next is told: this, or what follows the Pi.
  await page.keyboard.press('ControlOrMeta+s');
  await login(page, world.operator);
  await notice(page, 'Here is your unsaved work again').waitFor();
  await save(page, id, 'Saved. Running');
  assert.equal(await saved(id), '# mine\n' + LOOP);
});

test('a library runs nothing and says so, and a program of another Pi is not taken for one of this', async (t) => {
  const { page, id } = await editing(t, 'library', { code: undefined, global_modules: { lab: 'x = 1\n' } });
  await answer(page, 'nothing to run').waitFor();
  await type(page, 'x = 2\n');
  await save(page, id, 'nothing to run');
  assert.deepEqual((await world.do('get', { id })).global_modules, { lab: 'x = 2\n' });
  await world.do('save', { document: { _id: 'elsewhere', type: 4711, code: LOOP } });
  await page.goto(`${world.url}#/pi/${world.mac_id}/edit/elsewhere`);
  await notice(page, 'This program is for another Pi').getByRole('link', { name: '4711' }).click();
  await page.waitForURL(/#\/pi\/4711\/edit\/elsewhere$/);
  await answer(page, 'The Pi has never been heard of').waitFor();
  await world.do('fleet', { count: 1, first: 4711, age_s: 3600 });
  await answer(page, 'The Pi is offline').getByText('last heard of 1 h ago').waitFor();
});

test('on a healthy page no request fails, so that the console of the browser has no errors', async (t) => {
  const page = await open(t, browser, world);
  const failed = [];
  page.on('response', (response) => response.status() >= 400 && failed.push(`${response.status()} ${response.url()}`));
  page.on('console', (message) => message.type() === 'error' && failed.push(message.text()));
  await login(page, world.operator);
  await world.do('fleet', { count: 1, first: 4712 });
  await page.getByRole('row').filter({ hasText: '4712' }).getByRole('link').click();
  // Nobody has looked at it yet, and it has no log.
  await page.getByText('New lines are here within two seconds').waitFor();
  await page.getByRole('link', { name: 'New program' }).click();
  await page.getByLabel('Name').fill('healthy');
  await press(page, 'Write it');
  await page.getByText('No syntax errors.').waitFor();
  await press(page, 'Save', { exact: true });
  const id = '4712:healthy';
  await until(() => world.do('get', { id }), 'it is saved');
  await type(page, '# newer\n' + LOOP);
  await press(page, 'Save', { exact: true });
  await until(async () => (await world.do('ids', { prefix: `deployment:${id}:` })).length === 2, 'both are in the history');
  await press(page, 'History');
  await page.getByRole('list', { name: /^Versions/ }).getByRole('button').nth(1).waitFor();
  assert.deepEqual(failed, []);
});

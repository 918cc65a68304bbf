// What the editor makes of documents, tracebacks, heartbeats and drafts: no browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';

const source = '../../himbeerecouch/web/page/src/editor/';
const {
  broughtBack,
  differences,
  generation,
  moduleNameError,
  newDocument,
  newModule,
  otherDifferences,
  programNameError,
  sameWork,
  read,
  same,
  write,
} = await import(`${source}document.js`);
const { lastPlace, linkedPlace, pieces, placeLink } = await import(`${source}../traceback.js`);
const { isSeenRunning, outcome } = await import(`${source}outcome.js`);
const { revisionsIn } = await import('../../himbeerecouch/web/page/src/history/revisions.js');
const { Drafts } = await import(`${source}drafts.js`);

const names = (work) => work.modules.map(({ group, name }) => `${group}:${name}`);

test('an earlier version brings back what it said, and not whom it was for or that it ran', () => {
  const old = { type: 1, name: 'heater', code: 'old', restart: 'always' };
  const now = { _id: 'a', _rev: '3-c', type: 2, name: 'heater', code: 'new', stopped: true };
  const rest = { name: 'heater', code: 'old', restart: 'always' };
  assert.deepEqual(broughtBack(now, old), { _id: 'a', _rev: '3-c', type: 2, stopped: true, ...rest });
  assert.deepEqual(broughtBack({ ...now, stopped: undefined }, { ...old, stopped: true }), { _id: 'a', _rev: '3-c', type: 2, ...rest });
  const { _rev, ...removed } = now;
  assert.deepEqual(broughtBack(removed, { ...old, stopped: true }), { _id: 'a', type: 2, ...rest });
});

test('a document that nobody touched is written as it was read', () => {
  for (const document of [
    { _id: 'a', _rev: '1-a', type: 1, code: 'x\r\ny' },
    { _id: 'a', _rev: '1-a', type: '1', name: 'b', modules: { main: 'x', 'a.b': 'y' }, extra: [1, { z: null }] },
    { _id: 'a', type: 1, code: 'x', modules: {}, restart: 'on-failure', rollback: false, offline: true, stopped: false },
    { _id: 'a', global_modules: { units: '1' } },
    { _id: 'a', type: 1, code: 'x', modules: { main: 'shadowed', odd: 3 }, global_modules: null },
    { _id: 'a', type: 1, code: null, modules: 'nonsense', restart: 'sometimes' },
  ])
    assert.deepEqual(write(read(document), document), document);
});

test("the tabs begin with main, the module's own before the global ones, each in the order of the alphabet", () => {
  const document = { _id: 'a', code: 'm', modules: { z: '', b: '' }, global_modules: { main: 'g', a: '' } };
  assert.deepEqual(names(read(document)), ['own:main', 'own:b', 'own:z', 'global:main', 'global:a']);
});

test('modules, the name and options are written into the document, and what is unknown stays', () => {
  const base = { _id: '1:a', _rev: '1-x', type: 1, name: 'a', code: 'old', rollback: true, mine: 7 };
  const work = read(base);
  work.modules[0].source = 'new';
  work.modules.push(newModule('own', 'help.er', 'h'), newModule('global', 'units', 'u'));
  work.name = 'b';
  work.options = { restart: 'never', rollback: false, offline: false, stopped: true };
  assert.deepEqual(write(work, base), {
    _id: '1:a',
    _rev: '1-x',
    type: 1,
    name: 'b',
    code: 'new',
    rollback: false,
    mine: 7,
    modules: { 'help.er': 'h' },
    global_modules: { units: 'u' },
    restart: 'never',
    offline: false,
    stopped: true,
  });
});

test('main that is renamed or removed is no longer the code, and a module that is named main becomes it', () => {
  const base = { _id: 'a', code: 'm', modules: { b: 'b' } };
  const work = read(base);
  work.modules[0].name = 'c';
  assert.deepEqual(write(work, base), { _id: 'a', modules: { b: 'b', c: 'm' } });
  work.modules[1].name = 'main';
  assert.deepEqual(write(work, base), { _id: 'a', code: 'b', modules: { c: 'm' } });
  const listed = { _id: 'a', modules: { main: 'm' } };
  const other = read(listed);
  other.modules[0].source = 'n';
  assert.deepEqual(write(other, listed), { _id: 'a', modules: { main: 'n' } });
});

test('documents are the same in whatever order their fields come, and whatever their revision is', () => {
  assert.ok(same({ _id: 'a', _rev: '1', x: { a: 1, b: 2 } }, { x: { b: 2, a: 1 }, _id: 'a', _rev: '2' }));
  assert.ok(!same({ _id: 'a', x: [1, 2] }, { _id: 'a', x: [2, 1] }));
});

test('two readings are the same where names, sources and options are, in whatever order the modules come', () => {
  const document = { _id: 'a', code: 'm', modules: { b: 'b' } };
  const one = read(document);
  const other = read(document);
  other.modules.reverse();
  assert.ok(sameWork(one, other));
  assert.ok(!sameWork(one, { ...other, name: 'b' }));
  assert.ok(!sameWork(one, { ...other, options: { ...other.options, stopped: true } }));
  assert.ok(!sameWork(one, { ...other, modules: other.modules.slice(1) }));
  assert.ok(!sameWork(one, { ...other, modules: other.modules.map((module) => ({ ...module, group: 'global' })) }));
  assert.ok(!sameWork(one, { ...other, modules: other.modules.map((module) => ({ ...module, source: 'c' })) }));
});

test('the revisions of a program are found in the ids of its history, the newest first, and no other program’s', () => {
  const ids = ['a:1-aa', 'a:10-ab', 'a:9-ac', 'a:b:3-ad', 'a:x'].map((end) => `deployment:${end}`);
  assert.deepEqual(revisionsIn(ids, 'a'), ['10-ab', '9-ac', '1-aa']);
  assert.deepEqual(revisionsIn(ids, 'a:b'), ['3-ad']);
});

test("names of modules follow Python's rules", () => {
  const there = [newModule('own', 'helper')];
  for (const good of ['a', '_a1', 'a.b.c', 'größe', 'match']) assert.equal(moduleNameError(good, 'own', there), null, good);
  for (const bad of ['', '1a', 'a-b', 'a b', 'a..b', '.a', 'class', 'a.None', 'helper', 'a'.repeat(201)])
    assert.equal(typeof moduleNameError(bad, 'own', there), 'string', bad);
  assert.equal(moduleNameError('helper', 'global', there), null);
  for (const bad of ['', ' ', 'a ', 'a\nb', 'a'.repeat(201)]) assert.equal(typeof programNameError(bad), 'string', bad);
  assert.equal(programNameError('Lab thermometer 2'), null);
});

test('a new program has its Pi, its name, and code that runs until it is asked to quit', () => {
  const document = newDocument('12:clock', 12);
  assert.deepEqual([document.type, document.name], [12, 'clock']);
  assert.match(document.code, /def main\(\):\n {4}while not should_quit\(\):/);
});

test('differences name each module that differs, and each other field', () => {
  const one = { _id: 'a', _rev: '1-a', name: 'n', code: '1', modules: { b: 'b', c: 'c' } };
  const other = { _id: 'a', _rev: '2-b', name: 'm', code: '2', modules: { c: 'c' }, global_modules: { g: 'g' } };
  assert.deepEqual(differences(one, other), [
    { group: 'own', name: 'main', one: '1', other: '2' },
    { group: 'own', name: 'b', one: 'b', other: null },
    { group: 'global', name: 'g', one: null, other: 'g' },
  ]);
  assert.deepEqual(otherDifferences(one, other), [{ key: 'name', one: 'n', other: 'm' }]);
  assert.deepEqual(differences(null, { code: '1' }), [{ group: 'own', name: 'main', one: null, other: '1' }]);
  assert.deepEqual([generation('12-ab'), generation(null)], [12, 0]);
});

const TRACEBACK = `Traceback (most recent call last):
  File "12%3Aclock@3-ab/main.py", line 7, in main
    read()
  File "12%3Aclock@3-ab/sensors/__init__.py", line 2, in read
  |   File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
  | File "global lib%2Fx@1-c/units/si.py", line 4, in kelvin
    return celsius + 1
TypeError: File "x@1/y.py", line 3
`;

test("a traceback keeps its text, and its places are those of programs, not of Python's own files", () => {
  const found = pieces(TRACEBACK);
  assert.equal(found.map(({ text }) => text).join(''), TRACEBACK);
  assert.deepEqual(
    found.flatMap(({ place }) => (place ? [place] : [])),
    [
      { documentId: '12:clock', rev: '3-ab', group: 'own', module: 'main', line: 7 },
      { documentId: '12:clock', rev: '3-ab', group: 'own', module: 'sensors', line: 2 },
      { documentId: 'lib/x', rev: '1-c', group: 'global', module: 'units.si', line: 4 },
    ],
  );
  assert.equal(lastPlace(TRACEBACK).module, 'units.si');
  assert.equal(lastPlace('OSError'), null);
  assert.deepEqual(pieces('  File "a%ZZ@1/x.py", line 1\n'), [{ text: '  File "a%ZZ@1/x.py", line 1\n' }]);
});

test('a link to a place leads back to it, into another document where the module is a global one', () => {
  const [own, , global] = pieces(TRACEBACK).flatMap(({ place }) => (place ? [place] : []));
  const link = placeLink(12, '12:clock', own);
  assert.equal(link, '#/pi/12/edit/12%3Aclock?module=main&line=7&rev=3-ab');
  assert.deepEqual(linkedPlace(new URLSearchParams(link.split('?')[1])), { group: 'own', module: 'main', line: 7, rev: '3-ab' });
  assert.match(placeLink(12, '12:clock', global), /edit\/lib%2Fx\?module=units.si&line=4&rev=1-c&global=1/);
  assert.equal(linkedPlace(new URLSearchParams('module=a&global=1')).group, 'global');
  assert.equal(linkedPlace(new URLSearchParams('')), null);
  const long = `File "${'a'.repeat(80)}~0123456789ab@1-a/m.py", line 1`;
  assert.equal(lastPlace(long).documentId, null);
  assert.match(placeLink(12, 'p', lastPlace(long)), /edit\/p\?module=m/);
});

const NOW = Date.parse('2026-05-01T12:00:10Z') / 1000;
const at = (seconds) => new Date((NOW + seconds) * 1000).toISOString();
const saved = { id: 'p', rev: '2-b', runs: true, savedAt: NOW - 3 };
const heartbeat = (entry) => ({
  timestamp: at(-1),
  programs: {
    p: { rev: '2-b', saved_rev: null, state: 'running', since: at(-5), restarts: 0, error: null, failures: [], ...entry },
  },
});
const look = (entry, { offline = false, now = NOW, seen = null, what = saved } = {}) =>
  outcome(what, entry && heartbeat(entry), { now, offline, seen });

test('a revision runs once the Pi has run that very one for a second', () => {
  assert.deepEqual(look({}, { seen: NOW - 2 }), { stage: 'running', done: true, ok: true, since: at(-5) });
  assert.equal(look({ since: at(-60) }).stage, 'running');
  for (const seen of [null, NOW - 1]) assert.deepEqual([look({}, { seen }).stage, look({}, { seen }).done], ['starting', false]);
  assert.equal(look({ state: 'starting' }).stage, 'starting');
  assert.deepEqual(
    [isSeenRunning(saved, heartbeat({})), isSeenRunning(saved, heartbeat({ rev: '1-a' })), isSeenRunning(saved, undefined)],
    [true, false, false],
  );
  assert.equal(look({ rev: '1-a' }).stage, 'waiting');
  assert.equal(look({ rev: '1-a', state: 'stopping' }).stage, 'waiting');
  assert.equal(look(null).stage, 'waiting');
  assert.equal(look(null, { now: NOW + 60 }).stage, 'slow');
});

test('a crash is told with its traceback, also where the program runs again by then', () => {
  const failures = [
    { rev: '2-b', error: 'first' },
    { rev: '2-b', error: 'boom' },
  ];
  for (const state of ['crashed', 'backoff', 'running', 'starting'])
    assert.deepEqual([look({ state, failures }).stage, look({ state, failures }).error], ['crashed', 'boom']);
  assert.equal(look({ failures: [{ rev: '1-a', error: 'before' }] }, { seen: NOW - 9 }).stage, 'running');
  assert.equal(look({ state: 'backoff', error: 'boom' }).stage, 'crashed');
});

test('every other end has its name', () => {
  for (const [state, ok] of [
    ['finished', true],
    ['stopped', true],
    ['rejected', false],
    ['quarantined', false],
  ])
    assert.deepEqual([look({ state }).stage, look({ state }).ok, look({ state }).done], [state, ok, true]);
  assert.equal(look({ state: 'backoff' }).stage, 'finished');
  assert.equal(look({ rev: '1-a', saved_rev: '2-b', state: 'rolled-back', error: 'why' }).error, 'why');
  assert.equal(look({ rev: '1-a', saved_rev: '2-b', state: 'running' }).stage, 'waiting');
  assert.equal(look({ rev: '3-c' }).stage, 'overtaken');
  assert.equal(look({ rev: '1-a', saved_rev: '3-c' }).stage, 'overtaken');
  assert.equal(look(null, { what: { ...saved, runs: false } }).stage, 'library');
});

test('a Pi that is offline is said to be so, but what it had told of this revision stays true', () => {
  assert.deepEqual(look({ rev: '1-a' }, { offline: true }), { stage: 'offline', done: false, ok: null, since: at(-1) });
  assert.equal(look(null, { offline: true }).since, null);
  assert.equal(look({ state: 'starting' }, { offline: true }).stage, 'offline');
  assert.equal(look({ state: 'finished' }, { offline: true }).stage, 'finished');
});

class Storage extends Map {
  get length() {
    return this.size;
  }
  key = (index) => [...this.keys()][index] ?? null;
  getItem = (key) => this.get(key) ?? null;
  setItem = (key, value) => this.set(key, value);
  removeItem = (key) => this.delete(key);
}

test("a draft is found again, one for each base, the newest first; others' are not", () => {
  const storage = new Storage([
    ['himbeerecouch draft {', '1'],
    ['else', 'x'],
  ]);
  const drafts = new Drafts(storage, 'ada');
  assert.equal(drafts.keep('p', '1-a', { code: '1' }, 10), null);
  assert.equal(drafts.keep('p', null, { code: '0' }, 5), null);
  assert.equal(drafts.keep('p', '1-a', { code: '2' }, 20), null);
  drafts.keep('q', '1-a', { code: '3' }, 30);
  new Drafts(storage, 'bob').keep('p', '1-a', { code: '4' }, 40);
  assert.deepEqual(drafts.of('p'), [
    { baseRev: '1-a', at: 20, document: { code: '2' } },
    { baseRev: null, at: 5, document: { code: '0' } },
  ]);
  drafts.drop('p', '1-a');
  assert.deepEqual(
    drafts.of('p').map(({ baseRev }) => baseRev),
    [null],
  );
  assert.equal(new Drafts(storage, 'bob').of('p').length, 1);
});

test('drafts have a bound, and a browser that keeps nothing is told of', () => {
  const drafts = new Drafts(new Storage(), 'ada', 300);
  assert.equal(drafts.keep('p', '1-a', { code: 'x'.repeat(100) }, 1), null);
  assert.match(drafts.keep('q', '1-a', { code: 'x'.repeat(100) }, 1), /too much/);
  assert.equal(drafts.keep('p', '1-a', { code: 'y'.repeat(120) }, 2), null);
  const full = new Storage();
  full.setItem = () => {
    throw Object.assign(new Error(), { name: 'QuotaExceededError' });
  };
  assert.match(new Drafts(full, 'ada').keep('p', null, {}, 1), /no room/);
  const none = {
    get length() {
      throw new Error('SecurityError');
    },
    removeItem() {
      throw new Error();
    },
  };
  assert.match(new Drafts(none, 'ada').keep('p', null, {}, 1), /keeps nothing/);
  assert.match(new Drafts(null, 'ada').keep('p', null, {}, 1), /keeps nothing/);
  assert.deepEqual([new Drafts(none, 'ada').of('p'), new Drafts(null, 'ada').of('p')], [[], []]);
  new Drafts(null, 'ada').drop('p', null);
  new Drafts(none, 'ada').drop('p', null);
});

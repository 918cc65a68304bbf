import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { PAGE } from './harness.mjs';

globalThis.location = { hash: '' };
globalThis.addEventListener = () => {};
const source = (name) => import(pathToFileURL(join(PAGE, 'src', name)));
const { judge, shownState, urgency } = await source('judge.js');
const { overlap, takeLog } = await source('pi/lines.js');
const { argvOf, outcome, textOf } = await source('pi/commands.js');
const { parse, to } = await source('route.js');
const { learn, serverNow } = await source('clock.js');
const { duration } = await source('time.js');
const lenient = await source('lenient.js');

const T = Date.parse('2026-05-01T12:00:00Z');
const beat = (fields = {}) => ({ timestamp: '2026-05-01T12:00:00Z', interval_s: 30, state: 'running', programs: {}, health: {}, ...fields });

test('a Pi is online until three heartbeats are missing, and only while the page hears of changes', () => {
  const each = [
    [beat(), T + 90_000, true, 'online'],
    [beat(), T + 90_001, true, 'offline'],
    [beat({ interval_s: 600 }), T + 1_800_000, true, 'online'],
    [beat(), T, false, 'unknown'],
    [beat(), null, true, 'unknown'],
    [beat({ state: 'stopped' }), T, true, 'stopped'],
    [beat({ state: 'stopped' }), T + 9e9, true, 'stopped'],
    [beat({ state: 'stopped' }), T, false, 'unknown'],
    [beat({ timestamp: 'yesterday' }), T, true, 'offline'],
    [beat({ interval_s: null }), T + 1, true, 'offline'],
    // Written by a clock that was ahead: it says nothing about now.
    [beat(), T - 90_000, true, 'online'],
    [beat(), T - 90_001, true, 'offline'],
    // Nobody promises to be silent for years.
    [beat({ interval_s: 1e9 }), T + 1_800_001, true, 'offline'],
    [undefined, T, true, 'never'],
    [undefined, T, false, 'unknown'],
  ];
  for (const [told, nowMs, live, state] of each) assert.equal(judge(told, nowMs, live).state, state, JSON.stringify([told, nowMs, live]));
});

test('the dead come first, then those that fail, then those that warn; who is stopped on purpose comes last', () => {
  const program = (state, error = null) => ({ a: { name: 'a', state, error } });
  const order = [
    judge(beat({ programs: program('crashed', 'x') }), T + 91_000, true),
    judge(beat({ programs: program('rolled-back', 'x') }), T, true),
    judge(beat({ health: { under_voltage: true } }), T, true),
    judge(undefined, T, true),
    judge(beat(), T, false),
    judge(beat({ programs: program('running') }), T, true),
    judge(beat({ state: 'stopped', programs: program('crashed', 'x') }), T, true),
  ].map(urgency);
  assert.deepEqual(order, order.toSorted((a, b) => a - b));
  assert.equal(new Set(order).size, order.length);
});

test('what fails is what failed, also a document that makes no sense, but not what only begins again', () => {
  const failing = (fields) => judge(beat(fields), T, true).failing.map(({ id }) => id);
  assert.deepEqual(failing({ programs: { a: { state: 'backoff', error: 'x' }, b: { state: 'backoff', error: null }, c: { state: 'finished' } } }), ['a']);
  assert.deepEqual(failing({ programs: { a: { state: 'rejected', error: 'x' } }, rejected: [{ id: 'a', reason: 'x' }, { id: 'b', reason: 'y' }] }), ['a', 'b']);
  for (const state of ['of another time', 'constructor', '__proto__']) assert.deepEqual(shownState({ state }), ['unknown', state]);
});

test('a nearly full or read-only disk, heat and a weak power supply are warnings; what is not known is none', () => {
  const warnings = (health) => judge(beat({ health }), T, true).warnings;
  assert.deepEqual(warnings({ under_voltage: true, cpu_temperature_c: 80, disk_free_bytes: 4, disk_total_bytes: 100 }), ['under-voltage', 'hot', 'disk nearly full']);
  assert.deepEqual(warnings({ disk_read_only: true }), ['disk read-only']);
  assert.deepEqual(warnings(lenient.heartbeat({ health: { under_voltage: true, disk_read_only: true } }).health), ['under-voltage', 'disk read-only']);
  assert.deepEqual(warnings(lenient.heartbeat({ health: { under_voltage: 1, disk_read_only: 'no' } }).health), []);
  assert.deepEqual(warnings({ under_voltage: null, disk_read_only: null, cpu_temperature_c: null, disk_free_bytes: null, disk_total_bytes: null }), []);
  assert.deepEqual(warnings({ under_voltage: false, cpu_temperature_c: 79.9, disk_free_bytes: 5, disk_total_bytes: 100 }), []);
});

test('a heartbeat and a log that make no sense are read as what of them does', () => {
  const junk = [null, 5, 'abc', true, {}, [], [null], [5], { a: null }, { a: 5 }, { constructor: { state: 'constructor' } }];
  const names = Object.keys(lenient.heartbeat({}));
  for (const name of [...names, 'mac_id']) {
    for (const value of junk) {
      const told = lenient.heartbeat(beat({ [name]: value }));
      assert.doesNotThrow(() => judge(told, T, true), `${name}: ${JSON.stringify(value)}`);
      for (const program of Object.values(told.programs)) assert.deepEqual([typeof program.name, typeof program.state, program.failures], ['string', 'string', []]);
    }
  }
  const failures = [null, { log: 5, error: {} }, { rev: '1-a', time: 't', error: 'x', log: ['a', 5] }];
  const { programs } = lenient.heartbeat(beat({ programs: { a: { name: 7, state: 'crashed', error: ['x'], failures } } }));
  assert.deepEqual(programs.a.failures.at(-1), { rev: '1-a', time: 't', error: 'x', log: ['a'] });
  assert.deepEqual([programs.a.name, programs.a.error, programs.constructor], ['a', null, undefined]);
  for (const value of junk) {
    for (const doc of [{ programs: value }, { programs: { a: { lines: value, dropped_lines: value, name: value } } }]) {
      assert.doesNotThrow(() => takeLog(new Map(), lenient.logDocument(doc)), JSON.stringify(doc));
    }
    for (const doc of [{ cmd: value }, { action: value }, { cmd: ['a'], ret: value, execution: value }]) {
      assert.equal(typeof textOf(doc), 'string');
      assert.equal(typeof outcome(doc, T, true).words, 'string', JSON.stringify(doc));
    }
  }
});

test('lines that are known already are found again, as many as there are', () => {
  const naive = (known, next) => {
    for (let length = Math.min(known.length, next.length); length > 0; length -= 1) {
      if (next.slice(0, length).every((line, index) => line === known[known.length - length + index])) return length;
    }
    return 0;
  };
  let seed = 7;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  for (let round = 0; round < 3000; round += 1) {
    const lines = (most) => Array.from({ length: random(most) }, () => 'ab'[random(2)]);
    const [known, next] = [lines(9), lines(9)];
    assert.equal(overlap(known, next), naive(known, next), `${known} ${next}`);
  }
});

test('a log goes on where it ended, and says where lines are missing', () => {
  const doc = (lines, dropped = 0) => ({ programs: { p: { name: 'P', lines, dropped_lines: dropped } } });
  const shown = (...docs) => {
    let known = new Map();
    const all = [];
    for (const each of docs) {
      const taken = takeLog(known, each);
      known = taken.known;
      all.push(...taken.entries.map(({ kind, text }) => (kind === 'line' ? text : kind)));
    }
    return all;
  };
  assert.deepEqual(shown(doc(['1', '2']), doc(['1', '2', '3'])), ['1', '2', '3']);
  assert.deepEqual(shown(doc(['1', '2', '3']), doc(['3']), doc(['3', '4'])), ['1', '2', '3', '4']);
  assert.deepEqual(shown(doc(['1', '2']), doc(['5', '6'])), ['1', '2', 'gap', '5', '6']);
  assert.deepEqual(shown(doc(['1']), doc(['1', '9'], 7)), ['1', 'gap', '9']);
  assert.deepEqual(shown(doc(['1'], 7), doc(['1', '2'], 7)), ['gap', '1', '2']);
  assert.deepEqual(shown(doc(['1'], 7), doc(['1', '2'], 0)), ['gap', '1', '2']);
  assert.deepEqual(shown(doc(['1']), { programs: {} }, doc(['1', '2'])), ['1', '2']);
  assert.deepEqual(shown(doc(['1']), doc([])), ['1']);
});

test('plain words go to the Pi as they are, all else to its shell', () => {
  for (const [text, argv] of [
    ['uname -a', ['uname', '-a']],
    ['  ls   /home ', ['ls', '/home']],
    ['ls | head', ['sh', '-c', 'ls | head']],
    ['echo "a  b"', ['sh', '-c', 'echo "a  b"']],
    ['ls *', ['sh', '-c', 'ls *']],
    ['a=1 env', ['a=1', 'env']],
  ]) {
    assert.deepEqual(argvOf(text), argv);
  }
  assert.equal(textOf({ cmd: ['sh', '-c', 'ls | head'] }), 'ls | head');
  assert.equal(textOf({ cmd: ['echo', "it's", ''] }), `echo 'it'\\''s' ''`);
  assert.equal(textOf({ action: 'restart' }), 'restart the daemon');
});

test('how a command ended is said as it was', () => {
  const words = (doc, online = true) => outcome(doc, T, online).words;
  assert.equal(words({ execution: { state: 'running' } }, false), 'ran when the Pi was last heard of');
  const done = (execution, ret = ['', '']) => ({ execution, ret });
  assert.equal(words(done({ state: 'done', exit_code: 0 })), 'exit status 0');
  assert.equal(words(done({ state: 'failed', exit_code: 3 })), 'exit status 3');
  assert.equal(words(done({ state: 'failed', signal: 9, exit_code: null })), 'ended by signal 9');
  assert.equal(words(done({ state: 'failed', exit_code: null }, [null, 'no such file'])), 'could not be started');
  for (const state of ['timeout', 'cancelled', 'expired', 'interrupted', 'rejected']) {
    assert.notEqual(words(done({ state }, [null, 'x'])), 'failed');
  }
  assert.equal(words({ ret: ['out', ''] }), 'exit status 0');
  assert.equal(words({ execution: { state: 'running' } }), 'runs');
  assert.equal(words({ execution: { state: 'running' }, cancel: true }), 'is being ended');
  assert.equal(words({}), 'waits for the Pi');
  assert.equal(words({}, false), 'waits: the Pi is not online');
  assert.equal(words({ expires: '2026-05-01T11:59:00Z' }, false), 'not started: the Pi did not take it in time');
  assert.equal(outcome({ expires: '2026-05-01T11:59:00Z' }, null, true).over, false);
});

test('every place of the page has an address, and no address breaks it', () => {
  const id = 'a/b?c#d: é';
  const place = parse(to.edit('12', id, { module: 'x.y', line: 3 }));
  assert.deepEqual([place.view, place.macId, place.programId, place.query.get('module')], ['edit', '12', id, 'x.y']);
  assert.equal(parse(to.pi('12')).macId, '12');
  assert.equal(parse(to.create('12')).macId, '12');
  assert.equal(parse(to.create()).view, 'new');
  for (const hash of ['', '#', '#/']) assert.equal(parse(hash).view, 'fleet');
  for (const hash of ['#/pi', '#/pi/x', '#/pi/007', '#/pi/99999999999999999', '#/pi/1/edit', '#/pi/1/edit/%', '#/pi/1/2', '#/what', '#/new/x']) assert.equal(parse(hash).view, 'nowhere', hash);
});

test('the time is the server’s, to the second, whatever this machine’s clock says', () => {
  assert.equal(serverNow(), null);
  learn('no date', { sentMs: 0 });
  learn(null, { sentMs: 0 });
  assert.equal(serverNow(), null);
  const told = (ms) => new Date(Math.floor(ms / 1000) * 1000).toUTCString();
  const start = Date.parse('2031-01-01T00:00:00.400Z');
  for (const atMs of [0, 700, 1100, 5900]) learn(told(start + atMs), { sentMs: atMs - 20, atMs });
  const offMs = Math.abs(serverNow() - performance.now() - start);
  assert.ok(offMs < 1000, `${offMs} ms`);
  // Its headers were twenty seconds on their way: of what is known, nothing changes.
  learn(told(start + 6000), { sentMs: 5950, atMs: 26_000 });
  assert.ok(Math.abs(serverNow() - performance.now() - start) < 1000, 'a late answer');
  learn(told(start - 3_600_000), { sentMs: -20, atMs: 0 });
  assert.ok(Math.abs(serverNow() - performance.now() - start + 3_600_000) < 1100, 'the clock was set back');
  learn(told(start + 3_600_000), { sentMs: -20, atMs: 0 });
  assert.ok(Math.abs(serverNow() - performance.now() - start - 3_600_000) < 1000, 'the clock was set');
});

test('durations are in the unit that a person would use', () => {
  for (const [seconds, words] of [[-3, '0 s'], [59.9, '59 s'], [60, '1 min'], [3599, '59 min'], [3600, '1 h'], [172_799, '47 h'], [172_800, '2 days']]) {
    assert.equal(duration(seconds), words);
  }
});

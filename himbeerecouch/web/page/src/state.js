/**
 * What the page knows, as signals, and what it can do to it. A MacID is a string of decimal digits everywhere here, and
 * becomes a number where a document wants one.
 */

import { batch, computed, signal } from '@preact/signals';
import { serverNow, serverTimestamp } from './clock.js';
import * as couch from './couch.js';
import { Conflict, CouchError, generation } from './couch.js';
import { Feed } from './feed.js';
import * as lenient from './lenient.js';

/** {name, roles} of who is logged in; null for nobody, undefined while that is not known yet. */
export const session = signal(undefined);
/** {database, status_database, version, server}, from /config.json. */
export const config = signal(null);
/** MacID -> its last heartbeat. */
export const heartbeats = signal(new Map());
/** MacID -> the name that it was given. */
export const names = signal(new Map());
/** The Pi that is looked at, as openPi() was told; or null. */
export const opened = signal(null);
/** Of that Pi: id -> program document. */
export const programs = signal(new Map());
/** Of that Pi: id -> command document, those that run, that were started here, or that came while the page looked on. */
export const commands = signal(new Map());
/** Of that Pi: its log document. */
export const log = signal(null);
/** Whether the programs, commands and log of that Pi have been read; and what went wrong with it. */
export const openedState = signal({ ready: false, error: null });
/** The server's time in ms, once a second; null as long as it is not known. */
export const now = signal(null);
/** Whether the guard is there, that lets only operators write. */
export const guarded = signal(true);

const OPERATOR = 'himbeerecouch_operator';
const GUARD = '_design/himbeerecouch_guard';
const BY_TYPE = ['himbeerecouch', 'by-type'];
const NO_ANSWER = { ret: { $exists: false } };
const COMMANDS_KEPT = 50;
const COMMAND_EXPIRES_S = 60;
const WATCH_S = 120;
const WATCH_AGAIN_S = 45;

export const isAdmin = computed(() => session.value?.roles.includes('_admin') ?? false);
/** Names and roles of who administers the database of the programs. */
const databaseAdmins = signal({});
export const canWrite = computed(() => {
  if (!session.value) return false;
  const { name, roles } = session.value;
  const administers = databaseAdmins.value.names?.includes(name) || roles.some((role) => databaseAdmins.value.roles?.includes(role));
  return Boolean(isAdmin.value || administers || !guarded.value || roles.includes(OPERATOR));
});
/** Why somebody who may not write may not; the empty string for who may. */
export const whyReadOnly = computed(() =>
  canWrite.value ? '' : `You may look, but not change anything: ${session.value?.name} lacks the role ${OPERATOR}. An admin can give it.`,
);

// --- who is there ------------------------------------------------------------------------------------------------------

/** Reads the configuration and who is logged in; begins to follow where somebody is. */
export async function begin() {
  const [settings, who] = await Promise.all([couch.ask('GET', 'config.json'), couch.session.get()]);
  config.value = settings;
  setSession(who);
}

/** The session is one for all tabs of a browser: who logs in or out in one of them does so in each. */
const tabs = new BroadcastChannel('himbeerecouch.session');
tabs.onmessage = () => couch.session.get().then(setSession, () => {});

export async function login(name, password) {
  setSession(await couch.session.open(name, password));
  tabs.postMessage(null);
}

export async function logout() {
  setSession(null);
  await couch.session.close();
  tabs.postMessage(null);
}

couch.onLoggedOut(() => {
  if (session.value) setSession(null);
});

function setSession(who) {
  if (session.value?.name !== who?.name) forget();
  session.value = who;
  if (who && !feeds) follow();
}

function forget() {
  feeds?.forEach((feed) => feed.stop());
  feeds = null;
  batch(() => {
    contacts.value = {};
    heartbeats.value = new Map();
    names.value = new Map();
    forgetOpened();
  });
}

// --- the connection ----------------------------------------------------------------------------------------------------

/** Longer than a poll lasts: what is older says nothing about now. */
const CONTACT_S = 40;

/** Of each feed: {state, contactMs, problem}; contactMs is the server's time of the last sign of life. */
const contacts = signal({});

/**
 * {state, sinceMs, problem}: `connecting`, `live`, or `lost`; when by the server's clock it last answered, and the
 * CouchError that says why no more. Only while it is live is anything known about the present.
 */
export const connection = computed(() => {
  // The status database may be missing: that is told, and all else works.
  const each = Object.entries(contacts.value).flatMap(([name, one]) => (name === 'status' && one.state === 'missing' ? [] : [one]));
  if (!each.length) return { state: 'connecting', sinceMs: null };
  const sinceMs = Math.min(...each.map(({ contactMs }) => contactMs ?? 0)) || null;
  const lost = each.find(({ state }) => state === 'lost' || state === 'missing');
  if (lost) return { state: 'lost', sinceMs, problem: lost.problem };
  if (each.some(({ state }) => state === 'connecting')) return { state: 'connecting', sinceMs };
  const old = now.value !== null && now.value - sinceMs > CONTACT_S * 1000;
  return old ? { state: 'lost', sinceMs, problem: new CouchError(0, 'The server has stopped answering.') } : { state: 'live', sinceMs };
});

function setContact(name, change) {
  contacts.value = { ...contacts.value, [name]: { ...contacts.value[name], ...change } };
}

/** Whether there is no status database: the heartbeats are in the other one then, and there are no logs. */
export const statusMissing = computed(() => contacts.value.status?.state === 'missing');

let lastTick = null;

/** Once a second, and when the page is shown again. */
function tick() {
  const [wallMs, steadyMs] = [Date.now(), performance.now()];
  // performance.now() may stand still while the machine sleeps: what the page knows is old then, it can't say how old.
  const slept = lastTick && Math.abs(wallMs - lastTick[0] - (steadyMs - lastTick[1])) > 3000;
  lastTick = [wallMs, steadyMs];
  if (slept && feeds) {
    for (const name of Object.keys(contacts.value)) setContact(name, { state: 'connecting' });
    askAgain();
  }
  now.value = serverNow();
}

setInterval(tick, 1000);
addEventListener('online', () => askAgain());

/** Whether somebody sees the page: it is in a tab in the background otherwise. */
export const visible = signal(!document.hidden);
const HIDE_S = 30;
const STAY_S = 240;
let hiding, staying;

document.addEventListener('visibilitychange', () => {
  visible.value = !document.hidden;
  tick();
  clearTimeout(hiding);
  clearInterval(staying);
  if (document.hidden) {
    // A browser has six connections to a server, for all of its tabs: those that nobody sees leave them to the others.
    hiding = setTimeout(() => feeds?.forEach((feed) => feed.stop()), HIDE_S * 1000);
    // CouchDB ends a session after ten minutes without a request; one that is looked at again has not ended.
    staying = setInterval(() => session.value && couch.session.get().catch(() => {}), STAY_S * 1000);
  } else if (feeds?.some((feed) => !feed.running)) {
    for (const name of Object.keys(contacts.value)) setContact(name, { state: 'connecting' });
    feeds.forEach((feed) => feed.start());
  }
});

/** Has the feeds ask at once, without waiting for the next attempt. */
export function askAgain() {
  feeds?.forEach((feed) => feed.again());
}

// --- following ---------------------------------------------------------------------------------------------------------

let feeds = null;

function follow() {
  const { database, status_database: status } = config.value;
  const watched = (name) => ({
    onState: (state, problem) => setContact(name, { state, problem }),
    onContact: () =>
      batch(() => {
        now.value ??= serverNow();
        setContact(name, { contactMs: serverNow() });
      }),
  });
  contacts.value = { status: { state: 'connecting' }, code: { state: 'connecting' } };
  feeds = [
    new Feed({
      database: status,
      selector: () => ({ $or: [{ type: 'heartbeat' }, { _deleted: true }, ...(opened.value ? [{ _id: `${opened.value}_log` }] : [])] }),
      load: loadStatus,
      onRows: takeStatusRows,
      ...watched('status'),
    }),
    new Feed({ database, selector: codeSelector, load: loadCode, onRows: takeCodeRows, ...watched('code') }),
  ];
  feeds.forEach((feed) => feed.start());
}

function codeSelector() {
  const mac = opened.value;
  const ofPi = [mac, `${mac}_cmd`, `${mac}_watch`].map((type) => ({ type }));
  const inUse = [...programs.value.keys(), ...commands.value.keys()];
  const those = mac ? [{ type: Number(mac) }, ...ofPi, { _id: { $in: inUse } }] : [];
  return { $or: [{ type: 'name' }, { type: 'heartbeat' }, { _deleted: true }, ...those] };
}

async function loadStatus({ signal }) {
  const { status_database: database } = config.value;
  const found = (await couch.ids(database, { signal })).filter((id) => id.endsWith('_heartbeat'));
  const docs = await couch.documents(database, found, { signal });
  if (signal.aborted) return;
  batch(() => {
    heartbeats.value = new Map([...heartbeats.value].filter(([, beat]) => beat.from !== 'status'));
    takeHeartbeats(docs, 'status');
  });
  if (opened.value) await loadLog(opened.value, { signal });
}

async function loadCode({ signal }) {
  const { database } = config.value;
  const [named, beats, isGuarded, security] = await Promise.all([
    couch.documentsBelow(database, 'name:', { signal }),
    couch.query(database, { type: 'heartbeat', ...NO_ANSWER }, { index: BY_TYPE, signal }),
    // Whoever may not read it will learn from the server what they may do.
    couch.documents(database, [GUARD], { signal }).then(([found = null]) => found !== null, () => true),
    couch.ask('GET', couch.pathOf(database, '_security'), { signal }).catch(() => ({})),
  ]);
  if (signal.aborted) return;
  batch(() => {
    guarded.value = isGuarded;
    databaseAdmins.value = security.admins ?? {};
    names.value = new Map();
    takeNames(named);
    heartbeats.value = new Map([...heartbeats.value].filter(([, beat]) => beat.from !== 'code'));
    takeHeartbeats(beats, 'code');
  });
  if (opened.value) await loadPi(opened.value, { signal, again: true });
}

function takeStatusRows(rows) {
  const gone = rows.filter((row) => row.deleted).map((row) => row.id);
  const docs = rows.filter((row) => !row.deleted && row.doc).map((row) => row.doc);
  batch(() => {
    takeHeartbeats(docs, 'status');
    dropHeartbeats(gone, 'status');
    const lines = docs.find((doc) => doc._id === `${opened.value}_log`);
    if (lines) log.value = lenient.logDocument(lines);
  });
}

function takeCodeRows(rows) {
  const gone = rows.filter((row) => row.deleted).map((row) => row.id);
  const docs = rows.filter((row) => !row.deleted && row.doc).map((row) => row.doc);
  batch(() => {
    takeNames(docs);
    dropNames(gone);
    takeHeartbeats(docs, 'code');
    dropHeartbeats(gone, 'code');
    takePrograms(docs);
    takeCommands(docs);
    for (const { id, changes } of rows.filter((row) => row.deleted)) drop(id, changes[0].rev);
  });
  if (watching && gone.includes(`${watching.macId}_watch`)) watching.again();
}

function takeHeartbeats(docs, from) {
  const beats = docs.filter((doc) => doc.type === 'heartbeat' && /^\d+_heartbeat$/.test(doc._id));
  if (!beats.length) return;
  const known = new Map(heartbeats.value);
  for (const doc of beats) {
    const macId = doc._id.slice(0, -'_heartbeat'.length);
    const old = known.get(macId);
    // The Pi's daemon writes into one of two databases; what it once left in the other one is older.
    const newer = !old || (old.from === from ? generation(doc._rev) >= generation(old._rev) : String(doc.timestamp) >= String(old.timestamp));
    if (newer) known.set(macId, { ...lenient.heartbeat(doc), from });
  }
  heartbeats.value = known;
}

function dropHeartbeats(gone, from) {
  const those = gone.filter((id) => id.endsWith('_heartbeat')).map((id) => id.slice(0, -'_heartbeat'.length));
  if (!those.some((macId) => heartbeats.value.get(macId)?.from === from)) return;
  heartbeats.value = new Map([...heartbeats.value].filter(([macId, beat]) => beat.from !== from || !those.includes(macId)));
}

// --- names -------------------------------------------------------------------------------------------------------------

const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;
const MAC = /^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$|^[0-9a-f]{12}$/;

/** Why this can't be the name of a Pi; the empty string where it can. */
export function nameProblem(name) {
  if (!NAME.test(name)) return 'A name has letters, digits, “.”, “_” and “-”, begins with a letter or digit, and has 63 characters at most.';
  return /^\d+$/.test(name) || MAC.test(name) ? 'A name that is a number or a MAC address would be taken for one.' : '';
}

function takeNames(docs) {
  const named = docs.filter((doc) => doc.type === 'name' && doc._id.startsWith('name:') && Number.isSafeInteger(doc.mac_id));
  if (!named.length) return;
  const known = new Map(names.value);
  for (const doc of named) known.set(String(doc.mac_id), doc._id.slice('name:'.length));
  names.value = known;
}

function dropNames(gone) {
  const those = new Set(gone.filter((id) => id.startsWith('name:')).map((id) => id.slice('name:'.length)));
  if (those.size) names.value = new Map([...names.value].filter(([, name]) => !those.has(name)));
}

/** Gives the Pi a name, or none where it is empty. The database sees to it that no two have the same. */
export async function setName(macId, text) {
  const { database } = config.value;
  const [name, old] = [text.trim().toLowerCase(), names.value.get(macId)];
  if (name === (old ?? '')) return;
  if (name) {
    const problem = nameProblem(name);
    if (problem) throw new CouchError(400, problem);
    try {
      await couch.put(database, { _id: `name:${name}`, type: 'name', mac_id: Number(macId) });
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      if (String(error.theirs?.mac_id) !== macId) throw new CouchError(409, `The Pi ${error.theirs?.mac_id} has that name already.`);
    }
  }
  const before = old && (await couch.find(database, `name:${old}`));
  if (before) await couch.remove(database, before._id, before._rev);
  const known = new Map(names.value);
  if (name) known.set(macId, name);
  else known.delete(macId);
  names.value = known;
}

/** What people call the Pi: its name, else its host name, else its MacID. */
export function titleOf(macId) {
  return names.value.get(macId) ?? heartbeats.value.get(macId)?.hostname ?? macId;
}

// --- one Pi ------------------------------------------------------------------------------------------------------------

let reading;

/** Looks at this Pi from now on: `programs`, `commands` and `log` are its own. null for none. */
export function openPi(macId) {
  if (macId === opened.value) return;
  batch(() => {
    forgetOpened();
    opened.value = macId;
  });
  if (!feeds) return;
  // The feeds first: what changes while the rest is read is not missed then.
  feeds.forEach((feed) => feed.again());
  if (!macId) return;
  reading = new AbortController();
  const { signal } = reading;
  Promise.all([loadPi(macId, { signal }), loadLog(macId, { signal })]).catch((error) => {
    if (!signal.aborted) openedState.value = { ready: false, error };
  });
}

function forgetOpened() {
  reading?.abort();
  opened.value = null;
  programs.value = new Map();
  commands.value = new Map();
  tombstones.clear();
  log.value = null;
  openedState.value = { ready: false, error: null };
}

/** Id -> revision of documents that are gone, which a reading that is on its way may still have. */
const tombstones = new Map();

async function loadPi(macId, { signal, again = false }) {
  const { database } = config.value;
  const options = { index: BY_TYPE, signal };
  const [byNumber, byString, running, started] = await Promise.all([
    couch.query(database, { type: Number(macId), ...NO_ANSWER }, options),
    couch.query(database, { type: macId, ...NO_ANSWER }, options),
    couch.query(database, { type: `${macId}_cmd`, ...NO_ANSWER }, options),
    couch.documents(database, startedHere(macId), { signal }),
  ]);
  if (signal.aborted || opened.value !== macId) return;
  batch(() => {
    // What was there before another database took its place is no more; the feed goes on from before this reading.
    if (again) {
      programs.value = new Map();
      commands.value = new Map();
      tombstones.clear();
    }
    takePrograms([...byNumber, ...byString]);
    takeCommands([...started, ...running]);
    openedState.value = { ready: true, error: null };
  });
}

async function loadLog(macId, { signal }) {
  const found = await couch.find(config.value.status_database, `${macId}_log`, { signal }).catch((error) => {
    // Without the database there are no logs, and that is told elsewhere.
    if (error.status === 403 || error.status === 404) return null;
    throw error;
  });
  if (!signal.aborted && opened.value === macId && generation(found?._rev) >= generation(log.value?._rev)) log.value = found && lenient.logDocument(found);
}

/** The revisions of a document that are newer than what is known of it. */
function isNews(known, doc) {
  return generation(doc._rev) >= Math.max(generation(known.get(doc._id)?._rev), generation(tombstones.get(doc._id)));
}

function takePrograms(docs) {
  const macId = opened.value;
  const known = new Map(programs.value);
  let changed = false;
  for (const doc of docs) {
    if (!macId || !isNews(known, doc) || doc._rev === known.get(doc._id)?._rev) continue;
    // A type that is another one now: the program was handed to another Pi.
    if (String(doc.type) === macId) changed = Boolean(known.set(doc._id, doc));
    else changed = known.delete(doc._id) || changed;
  }
  if (changed) programs.value = known;
}

function takeCommands(docs) {
  const those = docs.filter((doc) => opened.value && doc.type === `${opened.value}_cmd` && isNews(commands.value, doc));
  if (!those.length) return;
  const known = new Map(commands.value);
  for (const doc of those) known.set(doc._id, doc);
  commands.value = known;
}

function drop(id, rev) {
  tombstones.set(id, rev);
  for (const known of [programs, commands]) {
    if (!known.value.has(id) || generation(known.value.get(id)._rev) > generation(rev)) continue;
    const rest = new Map(known.value);
    rest.delete(id);
    known.value = rest;
  }
}

// --- programs ----------------------------------------------------------------------------------------------------------

/** The program document without what the database adds to it. */
export function content(doc) {
  const { _id, _rev, ...rest } = doc;
  return rest;
}

function deploymentId(id, rev) {
  return `deployment:${id}:${rev}`;
}

function deployment(doc, { by, document = content(doc), ...more }) {
  return {
    _id: deploymentId(doc._id, doc._rev),
    type: 'deployment',
    program: doc._id,
    rev: doc._rev,
    mac_id: Number(doc.type),
    at: serverTimestamp(),
    by,
    document,
    ...more,
  };
}

/** Keeps a revision for the history; it may be there already. */
async function keep(entry) {
  try {
    await couch.put(config.value.database, entry);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
  }
}

/** Makes sure that what is about to be overwritten is in the history. Throws Conflict where it is not what `rev` says. */
async function keepCurrent(id, rev) {
  const entry = deploymentId(id, rev);
  const found = await couch.documents(config.value.database, rev ? [id, entry] : [id]);
  const current = found.find(({ _id }) => _id === id) ?? null;
  if ((current?._rev ?? undefined) !== rev) throw new Conflict(current);
  if (current && !found.some(({ _id }) => _id === entry)) await keep(deployment(current, { by: null }));
}

/**
 * Saves a program over the revision that it names (none: a new one), and returns it with its new revision. What was there
 * is kept in the history first. Throws Conflict with what is there now, where that is another revision.
 */
export async function saveProgram(doc) {
  const { database } = config.value;
  await keepCurrent(doc._id, doc._rev);
  const saved = { ...doc, _rev: await couch.put(database, doc) };
  takePrograms([saved]);
  // Where this one fails, whoever saves the next revision writes it.
  await keep(deployment(saved, { by: session.value.name })).catch(() => {});
  return saved;
}

/** Removes the program's revision; the history has it. Throws Conflict. */
export async function removeProgram(doc) {
  const { database } = config.value;
  await keepCurrent(doc._id, doc._rev);
  const rev = await couch.remove(database, doc._id, doc._rev);
  drop(doc._id, rev);
  await keep(deployment({ ...doc, _rev: rev }, { by: session.value.name, document: null, removed: true })).catch(() => {});
}

/** Whether the Pi is to run the program; the document stays. */
export function setStopped(doc, stopped) {
  const { stopped: _, ...rest } = doc;
  return saveProgram(stopped ? { ...rest, stopped: true } : rest);
}

// --- commands ----------------------------------------------------------------------------------------------------------

const STARTED = 'himbeerecouch.commands';

function startedHere(macId) {
  try {
    return JSON.parse(localStorage.getItem(`${STARTED}.${macId}`) ?? '[]');
  } catch {
    return [];
  }
}

function rememberStarted(macId, id) {
  try {
    localStorage.setItem(`${STARTED}.${macId}`, JSON.stringify([...startedHere(macId), id].slice(-COMMANDS_KEPT)));
  } catch {
    // The storage is full or forbidden: the command runs all the same.
  }
}

/**
 * Inserts a command for the Pi: {cmd: [...]} or {action}, with `timeout` and `expires` where wanted. Returns its
 * document; `commands` has its answer when it is there. A Pi that does not take it within a minute never does: nobody
 * wants a reboot of yesterday.
 */
export async function insertCommand(macId, fields) {
  const doc = {
    _id: `${macId}_cmd:${uuid4Hex()}`,
    type: `${macId}_cmd`,
    expires: serverTimestamp(COMMAND_EXPIRES_S),
    by: session.value.name,
    at: serverTimestamp(),
    ...fields,
  };
  const inserted = { ...doc, _rev: await couch.put(config.value.database, doc) };
  rememberStarted(macId, doc._id);
  takeCommands([inserted]);
  return inserted;
}

// crypto.randomUUID is there on https and localhost only.
function uuid4Hex() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Has the Pi end the command, or never start it; does nothing where it has ended. */
export async function cancelCommand(id) {
  const { database } = config.value;
  for (;;) {
    const doc = await couch.find(database, id);
    if (!doc || 'ret' in doc || doc.cancel) return;
    try {
      const cancelled = { ...doc, cancel: true };
      takeCommands([{ ...cancelled, _rev: await couch.put(database, cancelled) }]);
      return;
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
    }
  }
}

// --- the log -----------------------------------------------------------------------------------------------------------

let watching = null;

/**
 * Has the Pi tell new lines of its log within seconds, until the function that it returns is called. Others may be
 * looking on as well: the document is renewed where they take it away, and only taken away here where it is ours.
 */
export function watch(macId, onError = () => {}) {
  const { database } = config.value;
  const id = `${macId}_watch`;
  let ours = null;
  let ended = false;
  const renew = async () => {
    try {
      for (let attempt = 0; attempt < 3 && !ended; attempt += 1) {
        const there = ours ?? (await couch.find(database, id))?._rev;
        try {
          ours = await couch.put(database, { _id: id, _rev: there, type: id, until: serverTimestamp(WATCH_S) });
          onError(null);
          return;
        } catch (error) {
          ours = null;
          if (!(error instanceof Conflict)) throw error;
        }
      }
    } catch (error) {
      onError(error);
    }
  };
  const end = () => {
    if (ended) return;
    ended = true;
    clearInterval(timer);
    removeEventListener('pagehide', end);
    watching = null;
    // With another revision by now somebody else looks on.
    if (ours) couch.remove(database, id, ours, { keepalive: true }).catch(() => {});
  };
  const timer = setInterval(renew, WATCH_AGAIN_S * 1000);
  addEventListener('pagehide', end);
  watching = { macId, again: () => !ended && renew() };
  renew();
  return end;
}

// --- Pis on this network -----------------------------------------------------------------------------------------------

/** The Pis that answer on the network of the server of this page: [{mac_id, address, enrolled}]. */
export function probe() {
  return couch.ask('POST', 'api/probe', { body: {} });
}

/**
 * Has the server of this page make the Pi's user; the password never comes here. Admins only. Where there is a user already,
 * the error is `enrolled`, unless `replace` says to give it the password that the Pi has now.
 */
export function enroll(macId, { replace = false } = {}) {
  return couch.ask('POST', 'api/enroll', { body: { mac_id: Number(macId), replace } });
}

/** The errors and warnings of Python's own compiler: [{module, line, column, message, warning}]. */
export async function check(modules, { signal } = {}) {
  return (await couch.ask('POST', 'api/check', { body: { modules }, signal })).errors;
}

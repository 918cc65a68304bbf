/** The one CouchDB, by way of the server that serves this page. No state but the session's cookie, which scripts can't read. */

import { learn } from './clock.js';

const TIMEOUT_S = 30;
const PAGE = 200;

/** What a request came back with that is no answer. `status` is 0 where there was none at all. */
export class CouchError extends Error {
  constructor(status, reason, error = '') {
    super(reason);
    this.status = status;
    this.reason = reason;
    this.error = error;
  }
}

/** Somebody else has saved another revision meanwhile: `theirs`, or null where they removed the document. */
export class Conflict extends CouchError {
  constructor(theirs) {
    super(409, 'Somebody else has saved this document meanwhile.', 'conflict');
    this.theirs = theirs;
  }
}

const listeners = new Set();

/** Calls `listener()` whenever the server says that nobody is logged in any more. Returns what ends that. */
export function onLoggedOut(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * Asks the server of this page, and returns the answer's JSON. `path` is relative to the page. Throws CouchError.
 *
 * `timeoutS` is for the whole of it, from the first byte sent to the last one read. `signal` ends it early: an
 * AbortError.
 */
export async function ask(method, path, { body, query, signal, timeoutS = TIMEOUT_S, keepalive = false, onHeaders } = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = '';
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  const late = AbortSignal.timeout(timeoutS * 1000);
  let response, text;
  const sentMs = performance.now();
  try {
    response = await fetch(url, {
      method,
      headers: body === undefined ? { Accept: 'application/json' } : { Accept: 'application/json', 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, late]) : late,
      cache: 'no-store',
      redirect: 'error',
      keepalive,
    });
    // Before the page’s own answers a proxy may put the time of another machine than the database’s.
    if (response.ok && path.startsWith('couch/')) learn(response.headers.get('Date'), { sentMs });
    onHeaders?.();
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new CouchError(0, late.aborted ? `The server has not answered within ${timeoutS} s.` : 'The server can’t be reached.', 'unreachable');
  }
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new CouchError(response.ok ? 0 : response.status, `The server’s answer to ${method} ${path} is no JSON.`, 'bad_answer');
  }
  if (response.ok) return answer;
  if (response.status === 401 && !path.endsWith('_session')) for (const listener of listeners) listener();
  throw new CouchError(response.status, answer?.reason ?? answer?.error ?? `The server answered ${response.status}.`, answer?.error);
}

/** The path of a document, or of something of the database. */
export function pathOf(database, ...segments) {
  return ['couch', database, ...segments].map(encodeURIComponent).join('/');
}

/** The number in front of a revision, 0 for none: of two revisions of a document, the higher one is the later one. */
export function generation(rev) {
  return rev ? Number.parseInt(rev, 10) : 0;
}

/** The document, or null where there is none; not by a GET, as a browser calls each 404 an error in its console. */
export async function find(database, id, options) {
  return (await documents(database, [id], options))[0] ?? null;
}

/** Saves the document, over the revision that it names, and returns its new one. Throws Conflict with what is there. */
export async function put(database, doc, options) {
  try {
    return (await ask('PUT', pathOf(database, doc._id), { body: doc, ...options })).rev;
  } catch (error) {
    if (error.status !== 409) throw error;
    throw new Conflict(await find(database, doc._id));
  }
}

/** Deletes the document's revision, and returns that of its tombstone. Throws Conflict. */
export async function remove(database, id, rev, options) {
  try {
    return (await ask('DELETE', pathOf(database, id), { query: { rev }, ...options })).rev;
  } catch (error) {
    if (error.status !== 409) throw error;
    throw new Conflict(await find(database, id));
  }
}

/** Every document that a selector matches. `index` is a pair: CouchDB picks no partial index by itself. */
export async function query(database, selector, { index, fields, signal } = {}) {
  const found = [];
  let bookmark;
  for (;;) {
    const answer = await ask('POST', pathOf(database, '_find'), {
      body: { selector, limit: PAGE, bookmark, use_index: index, fields },
      signal,
    });
    found.push(...answer.docs);
    if (answer.docs.length < PAGE) return found;
    bookmark = answer.bookmark;
  }
}

/** The documents with these ids, in pages; those that are not there are left out. */
export async function documents(database, ids, { signal } = {}) {
  const found = [];
  for (let start = 0; start < ids.length; start += PAGE) {
    const answer = await ask('POST', pathOf(database, '_all_docs'), {
      body: { keys: ids.slice(start, start + PAGE) },
      query: { include_docs: true },
      signal,
    });
    found.push(...answer.rows.flatMap((row) => (row.doc ? [row.doc] : [])));
  }
  return found;
}

/** The documents whose ids begin with `prefix`. */
export async function documentsBelow(database, prefix, { signal } = {}) {
  const answer = await ask('GET', pathOf(database, '_all_docs'), {
    query: { include_docs: true, startkey: JSON.stringify(prefix), endkey: JSON.stringify(`${prefix}\ufff0`) },
    signal,
  });
  return answer.rows.map((row) => row.doc).filter(Boolean);
}

/** Every id of the database. */
export async function ids(database, { signal } = {}) {
  return (await ask('GET', pathOf(database, '_all_docs'), { signal })).rows.map((row) => row.id);
}

export const session = {
  /** Who is logged in: {name, roles}; null for nobody. */
  async get() {
    const { userCtx } = await ask('GET', 'couch/_session');
    return userCtx.name === null ? null : userCtx;
  },
  /** Logs in, and returns {name, roles}. */
  async open(name, password) {
    await ask('POST', 'couch/_session', { body: { name, password } });
    return session.get();
  },
  async close() {
    await ask('DELETE', 'couch/_session');
  },
};

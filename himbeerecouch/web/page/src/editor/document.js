// A program document as the editor sees it: modules in the order of the tabs, a name, options.  Pure.
//
// What the editor does not know stays in the document as it was.

/**
 * @typedef {{id: number, group: "own" | "global", name: string, source: string}} Module
 * @typedef {{restart: string, rollback: boolean, offline: boolean, stopped: boolean}} Options
 * @typedef {{name: string, options: Options, modules: Module[]}} Work
 */

export const GROUPS = { own: 'modules', global: 'global_modules' };
export const RESTARTS = ['on-failure', 'always', 'never'];
const MAX_NAME = 200;

const KEYWORDS = new Set(
  (
    'False None True and as assert async await break class continue def del elif else except finally for from global ' +
    'if import in is lambda nonlocal not or pass raise return try while with yield'
  ).split(' '),
);

/** What a new program begins with. */
export const TEMPLATE = `import time


def main():
    while not should_quit():
        log("hello from the Pi")
        time.sleep(10)
`;

let lastId = 0;

/** @returns {Module} */
export function newModule(group, name, source = '') {
  lastId += 1;
  return { id: lastId, group, name, source };
}

/**
 * The `_id` of a new program.
 *
 * @param {number} macId
 * @param {string} name
 */
export function programId(macId, name) {
  return `${macId}:${name}`;
}

/** A document for a program that is not in the database yet. */
export function newDocument(id, macId) {
  return { _id: id, type: macId, name: id.startsWith(`${macId}:`) ? id.slice(`${macId}:`.length) : id, code: TEMPLATE };
}

/** @returns {Work} */
export function read(document) {
  const own = sources(document.modules).filter(([name]) => name !== 'main' || !hasCode(document));
  if (hasCode(document)) own.push(['main', document.code]);
  own.sort(byName);
  return {
    name: readName(document),
    options: readOptions(document),
    modules: [
      ...own.map(([name, source]) => newModule('own', name, source)),
      ...sources(document.global_modules)
        .sort(byName)
        .map(([name, source]) => newModule('global', name, source)),
    ],
  };
}

/**
 * The document that says what `work` does, made from the one that it was read from.
 *
 * @param {Work} work
 */
export function write(work, base) {
  const { _rev, ...document } = base;
  if (_rev !== undefined) document._rev = _rev;
  if (work.name !== readName(base)) document.name = work.name;
  const own = Object.fromEntries(of(work, 'own'));
  const shadowed = hasCode(base) && 'main' in own && base.modules?.main !== undefined ? { main: base.modules.main } : {};
  if ('main' in own && (hasCode(base) || base.modules?.main === undefined)) {
    document.code = own.main;
    delete own.main;
  } else if (hasCode(base)) {
    delete document.code;
  }
  put(document, 'modules', { ...own, ...shadowed });
  put(document, 'global_modules', Object.fromEntries(of(work, 'global')));
  const options = readOptions(base);
  for (const [key, value] of Object.entries(work.options)) if (value !== options[key]) document[key] = value;
  return document;
}

/**
 * The document that brings back what an earlier version said, in place of `base`, or of what was removed where that has
 * no revision.  Whom it is for and whether it is stopped stays as it is: what somebody has stopped does not begin to run.
 */
export function broughtBack(base, content) {
  const { type: _type, stopped: _stopped, ...document } = content;
  const { _id, _rev, type, stopped } = base;
  if (_rev === undefined) return { ...document, _id, type };
  return { ...document, _id, _rev, type, ...(stopped !== undefined && { stopped }) };
}

/** Whether two documents say the same, whatever their revisions. */
export function same(one, other) {
  return canonical({ ...one, _rev: null }) === canonical({ ...other, _rev: null });
}

/** Whether two readings say the same; cheap enough for every key that is pressed. */
export function sameWork(one, other) {
  const named = ({ group, name }) => `${group} ${name}`;
  const there = new Map(other.modules.map((module) => [named(module), module.source]));
  return (
    one.name === other.name &&
    Object.entries(one.options).every(([key, value]) => value === other.options[key]) &&
    one.modules.length === other.modules.length &&
    one.modules.every((module) => there.get(named(module)) === module.source)
  );
}

/** Whether it has something to run; global modules alone run nothing. */
export function runs(document) {
  return hasCode(document) || typeof document.modules?.main === 'string';
}

/**
 * Why `name` can't be the name of a module of this group, in words for the person who typed it; null where it can.
 *
 * @param {Module[]} modules those that are there, without the one that is being renamed
 */
export function moduleNameError(name, group, modules) {
  const normal = name.normalize('NFKC');
  if (!normal) return 'A module needs a name.';
  for (const part of normal.split('.')) {
    if (KEYWORDS.has(part)) return `“${part}” is a word of Python's own, and can't be the name of a module.`;
    if (!/^[\p{XID_Start}_]\p{XID_Continue}*$/u.test(part))
      return 'A module is named by letters, digits and _, and does not begin with a digit; a dot makes a package.';
  }
  if (normal.length > MAX_NAME) return `A name has at most ${MAX_NAME} characters.`;
  if (modules.some((module) => module.group === group && module.name.normalize('NFKC') === normal))
    return `There is a module ${name} already.`;
  return null;
}

/** The same for the name of a program. */
export function programNameError(name) {
  if (!name.trim()) return 'A program needs a name.';
  if (name !== name.trim()) return 'A name neither begins nor ends with a blank.';
  if (name.length > MAX_NAME) return `A name has at most ${MAX_NAME} characters.`;
  if (/\p{Cc}/u.test(name)) return 'A name has no control characters.';
  return null;
}

/** The modules of both documents that differ, as `{group, name, one, other}`; a source is null where it is missing. */
export function differences(one, other) {
  const found = [];
  for (const group of Object.keys(GROUPS)) {
    const [mine, theirs] = [one, other].map((document) => Object.fromEntries(document ? of(read(document), group) : []));
    for (const name of [...new Set([...Object.keys(mine), ...Object.keys(theirs)])].sort(byMain))
      if (mine[name] !== theirs[name]) found.push({ group, name, one: mine[name] ?? null, other: theirs[name] ?? null });
  }
  return found;
}

/** What else differs: `{key, one, other}` for the name, the options, and whatever else stands in the documents. */
export function otherDifferences(one, other) {
  const left = new Set(['_id', '_rev', 'code', 'modules', 'global_modules']);
  const keys = new Set([...Object.keys(one ?? {}), ...Object.keys(other ?? {})].filter((key) => !left.has(key)));
  return [...keys]
    .sort()
    .filter((key) => canonical(one?.[key]) !== canonical(other?.[key]))
    .map((key) => ({ key, one: one?.[key], other: other?.[key] }));
}

/** The generation of a revision: the number before its dash. */
export function generation(rev) {
  return Number.parseInt(rev ?? '0', 10) || 0;
}

/** A revision as people see it: they compare its beginning, and 32 hex digits tell them nothing more. */
export function shortRev(rev) {
  const [number, hash = ''] = (rev ?? '').split('-');
  return hash ? `${number}-${hash.slice(0, 7)}` : number;
}

function readName(document) {
  return typeof document.name === 'string' && document.name ? document.name : document._id;
}

function readOptions(document) {
  return {
    restart: RESTARTS.includes(document.restart) ? document.restart : 'on-failure',
    rollback: document.rollback === true,
    offline: document.offline !== false,
    stopped: document.stopped === true,
  };
}

function hasCode(document) {
  return typeof document.code === 'string';
}

function sources(modules) {
  return Object.entries(isObject(modules) ? modules : {}).filter(([, source]) => typeof source === 'string');
}

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function of(work, group) {
  return work.modules.filter((module) => module.group === group).map(({ name, source }) => [name, source]);
}

function byName([one], [other]) {
  return byMain(one, other);
}

/** In the order of the alphabet, `main` first. */
function byMain(one, other) {
  if (one === other) return 0;
  if (one === 'main' || other === 'main') return one === 'main' ? -1 : 1;
  return one < other ? -1 : 1;
}

function put(document, key, modules) {
  const before = isObject(document[key]) ? document[key] : {};
  // What is no source is not ours: it stays, and the Pi says what is wrong with it.
  const odd = Object.entries(before).filter(([, source]) => typeof source !== 'string');
  const all = { ...Object.fromEntries(odd), ...modules };
  if (Object.keys(all).length) document[key] = all;
  else if (Object.keys(before).length) delete document[key];
}

function canonical(value) {
  return JSON.stringify(value, (_key, inner) =>
    isObject(inner) ? Object.fromEntries(Object.entries(inner).sort(([one], [other]) => (one < other ? -1 : 1))) : inner,
  );
}

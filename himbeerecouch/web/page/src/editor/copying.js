/** Copies of a program on other Pis. */

import * as couch from '../couch.js';
import { canWrite, config, saveProgram } from '../state.js';
import { programId, read, same } from './document.js';

const AT_ONCE = 4;
/** CouchDB picks no partial index by itself. */
const BY_TYPE = ['himbeerecouch', 'by-type'];

/**
 * Copies `document` to the Pi `macId`, in place of its program of the same name where `replace` says so.
 *
 * Returns {state, rev}: `saved`, `same` where it has that very program, or `there` where it was left alone.
 */
export async function copyTo(document, macId, { replace }) {
  const { _id, _rev, ...content } = document;
  const { name } = read(document);
  const there = await programNamed(macId, name);
  const copy = {
    ...content,
    type: Number(macId),
    name,
    _id: there?._id ?? programId(macId, name),
    ...(there && { _rev: there._rev }),
  };
  if (there && same({ ...there, type: copy.type }, copy)) return { state: 'same', id: there._id, rev: there._rev };
  if (there && !replace) return { state: 'there', id: there._id, rev: there._rev };
  const saved = await saveProgram(copy);
  return { state: 'saved', id: saved._id, rev: saved._rev };
}

/** The same for many Pis, a few at once; `onResult(macId, result)` is told of each, with an `error` where it failed. */
export async function copyToAll(document, macIds, { replace, onResult }) {
  const left = [...macIds];
  const work = async () => {
    while (left.length && canWrite.value) {
      const macId = left.shift();
      const result = await copyTo(document, macId, { replace }).catch((error) => ({ state: 'failed', error }));
      onResult(macId, result);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** The Pi's program that is called so, or has the id that a new one of that name gets; null for none. */
export async function programNamed(macId, name) {
  const { database } = config.value;
  const made = await couch.find(database, programId(macId, name));
  if (made) return made;
  const [numbers, strings] = await Promise.all(
    [Number(macId), macId].map((type) => couch.query(database, { type, ret: { $exists: false } }, { index: BY_TYPE })),
  );
  return [...numbers, ...strings].find((one) => read(one).name === name) ?? null;
}

/** Which versions of a program are in its history. Pure. */

import { generation } from '../editor/document.js';

/** What the ids of a program's history begin with; those of others may begin so as well. */
export function prefixOf(programId) {
  return `deployment:${programId}:`;
}

/** The revisions of the program, the newest first. */
export function revisionsIn(ids, programId) {
  const prefix = prefixOf(programId);
  return ids
    .filter((id) => id.startsWith(prefix))
    .map((id) => id.slice(prefix.length))
    .filter((rev) => /^\d+-[0-9a-f]+$/.test(rev))
    .sort((one, other) => generation(other) - generation(one) || (one < other ? -1 : 1));
}

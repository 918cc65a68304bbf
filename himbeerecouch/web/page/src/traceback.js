// A traceback of the daemon as text with places in it that can be jumped to.  Pure.
//
// The daemon names a module's file `<document id>@<revision>/<module>.py`, both quoted as in a URL, with `global `
// before it for a global module.

/** @typedef {{documentId: string | null, rev: string, group: "own" | "global", module: string, line: number}} Place */

const FILE = /^([ |]*File ")([^"]+)(", line (\d+))/;
const NAME = /^(global )?([^@/]+)@([^@/]+)\/(.+)\.py$/;
/** Of a long id the daemon tells the beginning only. */
const CUT = /~[0-9a-f]{12}$/;

/**
 * @param {string} text
 * @returns {{text: string, place?: Place}[]} the pieces, in order; together they are the text
 */
export function pieces(text) {
  const found = [];
  let plain = '';
  for (const line of text.split(/(?<=\n)/)) {
    const file = FILE.exec(line);
    const place = file && placeOf(file[2], Number(file[4]));
    if (!place) {
      plain += line;
      continue;
    }
    if (plain + file[1]) found.push({ text: plain + file[1].slice(0, -1) });
    found.push({ text: `"${file[2]}${file[3]}`, place });
    plain = line.slice(file[0].length);
  }
  if (plain) found.push({ text: plain });
  return found;
}

/** The last place of a traceback, which is where it happened; null where there is none. */
export function lastPlace(text) {
  return pieces(text).findLast((piece) => piece.place)?.place ?? null;
}

/** The link into the editor of the program `programId` of the Pi `macId`. */
export function placeLink(macId, programId, place) {
  // A program's own modules are always those of its own document.
  const id = place.group === 'own' ? programId : place.documentId;
  if (id === null) return null;
  const query = new URLSearchParams({ module: place.module, line: place.line, rev: place.rev });
  if (place.group === 'global') query.set('global', 1);
  return `#/pi/${macId}/edit/${encodeURIComponent(id)}?${query}`;
}

/** The place that such a link names, from the query of the route; null where it names none. */
export function linkedPlace(query) {
  const group = query.has('global') ? 'global' : 'own';
  const module = query.get('module');
  if (!module) return null;
  return { group, module, line: Math.max(1, Number.parseInt(query.get('line') ?? '1', 10) || 1), rev: query.get('rev') };
}

/** @returns {Place | null} */
function placeOf(fileName, line) {
  const parts = NAME.exec(fileName);
  if (!parts) return null;
  const [, global, id, rev, path] = parts;
  try {
    return {
      documentId: id.length > 80 && CUT.test(id) ? null : decodeURIComponent(id),
      rev: decodeURIComponent(rev),
      group: global ? 'global' : 'own',
      module: path.replace(/\/__init__$/, '').replaceAll('/', '.'),
      line,
    };
  } catch {
    return null; // a name of somebody else's, with a % that quotes nothing
  }
}

/**
 * What a program has printed, put together from the log documents: each has its last lines only, as many as there is room
 * for. Pure.
 */

/** Of each program, so many lines are compared with what comes next. */
const TAIL = 2000;

/** The most of the last lines of `known` that `next` begins with. */
export function overlap(known, next) {
  const most = Math.min(known.length, next.length);
  if (!most) return 0;
  // How long a beginning of `next` each of its beginnings ends with (Knuth, Morris, Pratt).
  const fall = new Int32Array(most);
  for (let index = 1, length = 0; index < most; index += 1) {
    while (length && next[index] !== next[length]) length = fall[length - 1];
    if (next[index] === next[length]) length += 1;
    fall[index] = length;
  }
  let length = 0;
  for (let index = known.length - most; index < known.length; index += 1) {
    while (length && (length === most || known[index] !== next[length])) length = fall[length - 1];
    if (known[index] === next[length]) length += 1;
  }
  return length;
}

/**
 * Takes a log document. `known` is program id -> {lines, dropped}, as it was returned before (an empty Map at first).
 * Returns {known, entries}: what is new, as {program, name, kind, text}; the kind is `line`, or `gap` where lines are
 * missing, for a reason in `text`.
 */
export function takeLog(known, doc) {
  const entries = [];
  const next = new Map();
  for (const [program, { name, lines, dropped_lines: dropped }] of Object.entries(doc?.programs ?? {})) {
    const before = known.get(program) ?? { lines: [], dropped: null };
    const add = (kind, text) => entries.push({ program, name, kind, text });
    const common = overlap(before.lines, lines);
    if (before.lines.length && lines.length && !common) add('gap', 'Lines may be missing here: it began anew, or printed more than there is room for.');
    const more = before.dropped === null ? dropped : dropped - before.dropped;
    if (more > 0) add('gap', `${more} ${more === 1 ? 'line' : 'lines'} dropped: it printed too fast.`);
    const fresh = lines.slice(common);
    for (const line of fresh) add('line', line);
    next.set(program, { lines: [...before.lines, ...fresh].slice(-TAIL), dropped });
  }
  // A program that is not in it had no room, or is gone: what it printed is still known.
  for (const [program, before] of known) if (!next.has(program)) next.set(program, before);
  return { known: next, entries };
}

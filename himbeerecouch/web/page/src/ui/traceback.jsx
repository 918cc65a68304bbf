/** A traceback of Python in which the lines of the program lead into the editor. */

import { to } from '../route.js';
import { programs } from '../state.js';

/** As the daemon names the modules of a program: "<id>@<revision>/<module>.py", the id quoted as in a URL. */
const FRAME = /^(\s*File ")(global )?([^"@]+)@([^"/]+)\/([^"]+)\.py(", line )(\d+)(.*)$/;

/** {before, place, after} of a line of a traceback; place is null where it is about no module of ours. */
export function readFrame(line) {
  const found = FRAME.exec(line);
  if (!found) return null;
  const [, , global, where, rev, path, , number, after] = found;
  try {
    const place = { module: path.replace(/\/__init__$/, '').replaceAll('/', '.'), line: Number(number), rev: decodeURIComponent(rev) };
    return { id: decodeURIComponent(where), place: global ? { ...place, global: 1 } : place, after };
  } catch {
    return null;
  }
}

export function Traceback({ macId, programId, text }) {
  return (
    <pre class="traceback" tabIndex={0} aria-label="Traceback">
      {text.split('\n').map((line, index) => (
        <Line key={index} macId={macId} programId={programId} line={line} />
      ))}
    </pre>
  );
}

function Line({ macId, programId, line }) {
  const frame = readFrame(line);
  // A long id is cut, and its hash stands behind a "~": then it is the program's own, unless it is of another document.
  const id = frame && (programs.value.has(frame.id) ? frame.id : frame.place.global ? null : programId);
  if (!id || !programs.value.has(id)) return <span>{line}{'\n'}</span>;
  return (
    <span>
      {'  '}
      <a href={to.edit(macId, id, frame.place)}>
        {frame.place.module}, line {frame.place.line}
      </a>
      {frame.after}
      {'\n'}
    </span>
  );
}

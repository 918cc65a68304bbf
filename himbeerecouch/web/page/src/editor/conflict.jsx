/** Two versions of a program, one of them the user's own: neither is lost, whatever is chosen. */

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Comparison } from '../history/comparison.jsx';
import { Fields } from '../history/differences.jsx';
import { whyReadOnly } from '../state.js';
import { Button } from '../ui/marks.jsx';
import { differences, newModule, otherDifferences, read, shortRev, write } from './document.js';

export function Conflict({ session }) {
  const { theirs, baseRev } = session.conflict.value;
  const [mine] = useState(() => session.merged.value ?? session.conflict.value.mine);
  const title = useRef(null);
  useEffect(() => title.current.focus(), []);
  const [modules] = useState(() => differences(theirs, mine));
  const fields = useMemo(() => (theirs ? otherDifferences(theirs, mine) : []), []);
  const [begun] = useState(() => ({
    sources: modules.map(({ other }) => other),
    sides: Object.fromEntries(fields.map(({ key }) => [key, 1])),
  }));
  const [made, make] = useState(begun);
  const { sources, sides } = made;
  const [left, right] = [theirs ? `saved: ${shortRev(theirs._rev)}` : 'saved: nothing', 'yours'];
  const touched = modules.some(({ other }, index) => sources[index] !== other) || Object.values(sides).some((side) => side === 0);
  const set = (index, source) =>
    make((before) => ({ ...before, sources: before.sources.map((one, at) => (at === index ? source : one)) }));
  const merged = () => merge({ theirs, mine, modules, sources, fields, sides });
  useLayoutEffect(() => {
    if (made !== begun) session.merged.value = merged();
  }, [made]);
  return (
    <section class="conflict" aria-labelledby="conflict-title">
      <div class="notice warn">
        <div>
          <h2 id="conflict-title" ref={title} tabIndex={-1}>
            {theirs ? 'There is another version' : 'The program was removed'}
          </h2>
          <p>
            {theirs
              ? `Revision ${shortRev(theirs._rev)} is saved, and yours was begun from ${baseRev ? shortRev(baseRev) : 'nothing'}. ` +
                'Change yours as it is to be, and take over from the other one what you want. ' +
                'Neither is lost: what you replace is in the history, and what you set aside stays in this browser.'
              : 'Somebody removed it while you were editing. The history has what it was.'}
          </p>
        </div>
        <div class="notice-buttons">
          <Button kind="main" onClick={() => session.keepMine(merged())} why={whyReadOnly.value}>
            {touched ? 'Save mine as it is now' : theirs ? 'Keep mine' : 'Save mine again'}
          </Button>
          <Button onClick={() => session.takeTheirs()}>{theirs ? 'Take theirs' : 'Leave it removed'}</Button>
          <Button onClick={() => session.postpone()}>Decide later</Button>
        </div>
      </div>
      <Fields
        fields={fields}
        leftLabel={left}
        rightLabel={right}
        choose={(key, side, value) => (
          <label class="choice">
            <input
              type="radio"
              name={`field-${key}`}
              checked={sides[key] === side}
              onChange={() => make((before) => ({ ...before, sides: { ...before.sides, [key]: side } }))}
            />
            {value}
          </label>
        )}
      />
      {modules.map(({ group, name, one, other }, index) => (
        <section key={`${group} ${name}`}>
          <h3 class="module-title">
            {group === 'global' && <span class="tab-kind">global</span>}
            <span class="mono">{name}</span>
            {one === null && theirs && <span class="quiet">only in yours</span>}
            {other === null && <span class="quiet">only in what is saved</span>}
            {(one === null || other === null) && theirs && (
              <label class="choice">
                <input
                  type="checkbox"
                  checked={sources[index] !== null}
                  onChange={(event) => set(index, event.target.checked ? (other ?? one) : null)}
                />
                keep it
              </label>
            )}
          </h3>
          {sources[index] !== null && (
            <Comparison
              left={one ?? ''}
              right={sources[index]}
              leftLabel={`${name}, ${left}`}
              rightLabel={`${name}, ${right}`}
              onChange={(source) => set(index, source)}
            />
          )}
        </section>
      ))}
    </section>
  );
}

/** Mine, with the sources and fields that were chosen. */
function merge({ theirs, mine, modules, sources, fields, sides }) {
  const document = { ...mine };
  for (const { key, one } of fields) {
    if (sides[key] === 1) continue;
    if (one === undefined) delete document[key];
    else document[key] = one;
  }
  const work = read(document);
  modules.forEach(({ group, name }, index) => {
    work.modules = work.modules.filter((module) => module.group !== group || module.name !== name);
    if (sources[index] !== null) work.modules.push(newModule(group, name, sources[index]));
  });
  return write(work, theirs ? { ...document, _rev: theirs._rev } : document);
}

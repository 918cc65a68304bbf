/** The live log of a Pi. */

import { effect, signal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { absence } from '../judge.js';
import { canWrite, log, opened, programs, statusMissing, visible, watch, whyReadOnly } from '../state.js';
import { Ago, Button } from '../ui/marks.jsx';
import { takeLog } from './lines.js';

const KEPT = 5000;
const SHOWN = 1000;

/** Of the Pi that is looked at: every line that came, oldest first, each with a number as its `key`. */
const entries = signal([]);

let known = new Map();
let ofPi = null;
let count = 0;

effect(() => {
  const [macId, doc] = [opened.value, log.value];
  if (macId !== ofPi) {
    ofPi = macId;
    known = new Map();
    entries.value = [];
  }
  if (!doc) return;
  const taken = takeLog(known, doc);
  known = taken.known;
  if (taken.entries.length) {
    const numbered = taken.entries.map((entry) => ({ ...entry, key: (count += 1) }));
    entries.value = [...entries.peek(), ...numbered].slice(-KEPT);
  }
});

export function Log({ macId, state, only, setOnly }) {
  const [search, setSearch] = useState('');
  const [paused, setPaused] = useState(null);
  const [error, setError] = useState(null);
  const looking = canWrite.value && state === 'online' && visible.value;
  useEffect(() => (looking ? watch(macId, setError) : undefined), [macId, looking]);
  const all = paused ?? entries.value;
  const wanted = search.toLowerCase();
  const found = all.filter((entry) => (!only || entry.program === only) && (!wanted || (entry.kind === 'line' && entry.text.toLowerCase().includes(wanted))));
  const missed = paused ? entries.value.filter((entry) => entry.key > (paused.at(-1)?.key ?? 0)).length : 0;
  return (
    <section class="panel log" aria-labelledby="log">
      <div class="section-head">
        <h2 id="log">Log</h2>
        <Which only={only} setOnly={setOnly} />
        <input type="search" aria-label="Search the log" placeholder="Search" value={search} onInput={(event) => setSearch(event.target.value)} />
        <Button aria-pressed={paused !== null} onClick={() => setPaused(paused ? null : entries.value)}>
          {paused ? 'Go on' : 'Pause'}
        </Button>
      </div>
      <Lines found={found.slice(-SHOWN)} wanted={wanted} named={!only} paused={paused !== null} />
      <p class="quiet small" role="status">
        {wanted && `${found.length} ${found.length === 1 ? 'line has' : 'lines have'} that. `}
        {found.length > SHOWN && `The last ${SHOWN} are shown. `}
        {paused && (missed ? `Paused: ${missed} more ${missed === 1 ? 'line' : 'lines'} since. ` : 'Paused. ')}
      </p>
      <p class="quiet small">
        <Freshness state={state} error={error} />
      </p>
    </section>
  );
}

function Which({ only, setOnly }) {
  const ids = new Map(entries.value.map((entry) => [entry.program, entry.name]));
  if (only && !ids.has(only)) ids.set(only, programs.value.get(only)?.name ?? only);
  return (
    <select aria-label="Whose lines" value={only} onChange={(event) => setOnly(event.target.value)}>
      <option value="">All programs</option>
      {[...ids].map(([id, name]) => (
        <option key={id} value={id}>
          {name}
        </option>
      ))}
    </select>
  );
}

function Freshness({ state, error }) {
  if (statusMissing.value) return 'There is no log without the status database.';
  const written = log.value && (
    <>
      Written <Ago ms={Date.parse(log.value.timestamp)} />.{' '}
    </>
  );
  if (state !== 'online') return <>{written}These are the last lines that came. {absence(state)}</>;
  if (!canWrite.value) return <>{written}New lines come once a minute. To have them at once, the Pi has to be told: {whyReadOnly.value}</>;
  if (error) return <>{written}New lines come once a minute: the Pi could not be told that somebody looks on. {error.message}</>;
  return <>{written}New lines are here within two seconds.</>;
}

function Lines({ found, wanted, named, paused }) {
  const ref = useRef(null);
  const following = useRef(true);
  useLayoutEffect(() => {
    if (following.current && !paused) ref.current.scrollTop = ref.current.scrollHeight;
  }, [found.at(-1)?.key, found.length, paused]);
  const note = () => {
    const { scrollHeight, scrollTop, clientHeight } = ref.current;
    following.current = scrollHeight - scrollTop - clientHeight < 24;
  };
  return (
    <div class="lines mono" ref={ref} tabIndex={0} role="log" aria-live="off" aria-labelledby="log" onScroll={note}>
      {!found.length && <p class="quiet">{wanted ? 'No line has that.' : 'Nothing has been printed yet.'}</p>}
      {found.map((entry) => (
        <div key={entry.key} class={entry.kind}>
          {named && <span class="program">{entry.name}</span>}
          <span class="text">{wanted ? <Marked text={entry.text} wanted={wanted} /> : entry.text}</span>
        </div>
      ))}
    </div>
  );
}

function Marked({ text, wanted }) {
  const parts = [];
  const lower = text.toLowerCase();
  let at = 0;
  for (let next = lower.indexOf(wanted); next >= 0; next = lower.indexOf(wanted, at)) {
    parts.push(text.slice(at, next), <mark>{text.slice(next, next + wanted.length)}</mark>);
    at = next + wanted.length;
  }
  return [...parts, text.slice(at)];
}

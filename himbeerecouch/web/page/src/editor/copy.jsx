/** Copies a program to other Pis, and says what each of them makes of it. */

import { useRef, useState } from 'preact/hooks';
import { judge } from '../judge.js';
import { to } from '../route.js';
import { connection, heartbeats, now, titleOf } from '../state.js';
import { Dialog } from '../ui/dialog.jsx';
import { Button, PiState, State } from '../ui/marks.jsx';
import { copyToAll } from './copying.js';
import { runs } from './document.js';
import { knownPis } from './new.jsx';
import { isSeenRunning, outcome } from './outcome.js';

/** So many can be chosen from at once; a filter leads to the others. */
const SHOWN = 100;

const STAGES = {
  saved: ['busy', 'saved, waiting for it'],
  same: ['calm', 'has this very program'],
  there: ['calm', 'has another of that name: left alone'],
  failed: ['bad', 'failed'],
  running: ['good', 'running'],
  finished: ['good', 'finished'],
  stopped: ['calm', 'saved, stopped'],
  library: ['calm', 'saved'],
  overtaken: ['calm', 'saved over by another'],
  crashed: ['bad', 'crashed'],
  rejected: ['bad', 'rejected'],
  quarantined: ['bad', 'quarantined'],
  'rolled-back': ['bad', 'rolled back'],
  offline: ['calm', 'saved; the Pi is offline'],
};

/** Asks which Pis are to have it; what becomes of it stands in `session.copies`. */
export function CopyDialog({ session, onClose }) {
  const [filter, setFilter] = useState('');
  const [chosen, setChosen] = useState(new Set());
  const pis = knownPis().filter(({ macId }) => macId !== session.macId);
  const words = filter.trim().toLowerCase();
  const shown = pis.filter(
    ({ macId, title }) => chosen.has(macId) || title.toLowerCase().includes(words) || macId.includes(words),
  );
  const toggle = (macId) => {
    const next = new Set(chosen);
    if (!next.delete(macId)) next.add(macId);
    setChosen(next);
  };
  const act = (form) => {
    if (!chosen.size) throw new Error('Choose the Pis that are to have it.');
    copyAll(session, chosen, form.has('replace'));
  };
  const verb = chosen.size > 1 ? `Copy to ${chosen.size} Pis` : 'Copy';
  return (
    <Dialog title={`Copy ${session.work.value.name} to other Pis`} verb={verb} act={act} onClose={onClose}>
      <p class="quiet">
        {pis.length ? 'What is saved is copied. Each copy is a program of its own from then on.' : 'There is no other Pi yet.'}
      </p>
      {pis.length > SHOWN / 10 && (
        <label>
          Filter
          <input type="search" value={filter} autocomplete="off" onInput={(event) => setFilter(event.target.value)} />
        </label>
      )}
      {pis.length > 0 && (
        <ul class="copy-list" aria-label="Pis">
          {shown.slice(0, SHOWN).map(({ macId, title }) => (
            <li key={macId}>
              <label class="choice">
                <input type="checkbox" checked={chosen.has(macId)} onChange={() => toggle(macId)} />
                {title}
              </label>
              <PiState state={judge(heartbeats.value.get(macId), now.value, connection.value.state === 'live').state} />
            </li>
          ))}
        </ul>
      )}
      {shown.length > SHOWN && <p class="quiet">And {shown.length - SHOWN} more: filter for them.</p>}
      <label class="choice">
        <input type="checkbox" name="replace" />
        Replace a program of that name, where there is one
      </label>
    </Dialog>
  );
}

function copyAll(session, macIds, replace) {
  const document = session.base.value;
  session.copies.value = new Map([...macIds].map((macId) => [macId, { state: 'waiting' }]));
  copyToAll(document, macIds, {
    replace,
    onResult: (macId, result) => {
      const told = { ...result, runs: runs(document), at: (now.value ?? Date.now()) / 1000 };
      session.copies.value = new Map(session.copies.value).set(macId, told);
    },
  });
}

/** What became of the copies, on each of the Pis. */
export function Copies({ session }) {
  const copies = session.copies.value;
  if (!copies) return null;
  const busy = [...copies.values()].some(({ state }) => state === 'waiting');
  return (
    <section class="notice" aria-label="Copies">
      <ul class="copy-list" aria-live="polite">
        {[...copies].map(([macId, result]) => (
          <Result key={macId} macId={macId} result={result} />
        ))}
      </ul>
      {!busy && (
        <Button kind="plain" onClick={() => (session.copies.value = null)}>
          Hide
        </Button>
      )}
    </section>
  );
}

function Result({ macId, result }) {
  const seen = useRef(null);
  const heartbeat = heartbeats.value.get(macId);
  let stage = result.state;
  if (result.state === 'saved' && now.value !== null) {
    const seconds = now.value / 1000;
    if (!isSeenRunning(result, heartbeat)) seen.current = null;
    else seen.current ??= seconds;
    const { state } = judge(heartbeat, now.value, connection.value.state === 'live');
    const told = outcome({ ...result, savedAt: result.at }, heartbeat, {
      now: seconds,
      offline: state !== 'online',
      seen: seen.current,
    });
    stage = told.done || told.stage === 'offline' ? told.stage : 'saved';
  }
  const [tone, words] = STAGES[stage] ?? ['busy', 'waiting'];
  return (
    <li>
      {result.id ? <a href={to.edit(macId, result.id)}>{titleOf(macId)}</a> : <span>{titleOf(macId)}</span>}
      <State tone={tone}>{result.error ? `${words}: ${result.error.message}` : words}</State>
    </li>
  );
}

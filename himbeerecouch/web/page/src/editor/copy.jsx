/** Copies a program to other Pis, and says what each of them makes of it. */

import { useRef, useState } from 'preact/hooks';
import { judge } from '../judge.js';
import { to } from '../route.js';
import { connection, heartbeats, now } from '../state.js';
import { PiState, State } from '../ui/marks.jsx';
import { Buttons, Dialog } from './dialogs.jsx';
import { copyToAll } from './copying.js';
import { runs } from './document.js';
import { knownPis } from './new.jsx';
import { isSeenRunning, outcome } from './outcome.js';

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

export function CopyDialog({ session, onClose }) {
  const [filter, setFilter] = useState('');
  const [chosen, setChosen] = useState(new Set());
  const [replace, setReplace] = useState(false);
  const [results, setResults] = useState(null);
  const [busy, setBusy] = useState(false);
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
  const copy = async (event) => {
    event.preventDefault();
    if (!chosen.size) return;
    const document = session.base.value;
    setBusy(true);
    setResults(new Map([...chosen].map((macId) => [macId, { state: 'waiting' }])));
    await copyToAll(document, chosen, {
      replace,
      onResult: (macId, result) =>
        setResults((before) =>
          new Map(before).set(macId, { ...result, runs: runs(document), at: (now.value ?? Date.now()) / 1000 }),
        ),
    });
    setBusy(false);
  };
  return (
    <Dialog title={`Copy ${session.work.value.name} to other Pis`} onClose={onClose}>
      {results ? (
        <>
          <ul class="copy-list" aria-live="polite">
            {[...results].map(([macId, result]) => (
              <Result key={macId} macId={macId} title={pis.find((one) => one.macId === macId)?.title ?? macId} result={result} />
            ))}
          </ul>
          <div class="dialog-buttons">
            <button type="button" class="button main" onClick={onClose}>
              {busy ? 'Close, and go on copying' : 'Close'}
            </button>
          </div>
        </>
      ) : pis.length ? (
        <form onSubmit={copy}>
          <p class="quiet">The saved revision is copied. Each copy is a program of its own from then on.</p>
          <label>
            Filter
            <input type="search" value={filter} autocomplete="off" onInput={(event) => setFilter(event.target.value)} />
          </label>
          <ul class="copy-list" aria-label="Pis">
            {shown.slice(0, 100).map(({ macId, title }) => (
              <li key={macId}>
                <label class="choice">
                  <input type="checkbox" checked={chosen.has(macId)} onChange={() => toggle(macId)} />
                  {title}
                </label>
                <PiState state={judge(heartbeats.value.get(macId), now.value, connection.value.state === 'live').state} />
              </li>
            ))}
          </ul>
          {shown.length > 100 && <p class="quiet">And {shown.length - 100} more: filter for them.</p>}
          <label class="choice">
            <input type="checkbox" checked={replace} onChange={(event) => setReplace(event.target.checked)} />
            Replace a program of that name, where there is one
          </label>
          <Buttons onClose={onClose}>
            <button class="button main" disabled={!chosen.size}>
              {chosen.size > 1 ? `Copy to ${chosen.size} Pis` : 'Copy'}
            </button>
          </Buttons>
        </form>
      ) : (
        <>
          <p>There is no other Pi yet.</p>
          <Buttons onClose={onClose} />
        </>
      )}
    </Dialog>
  );
}

function Result({ macId, title, result }) {
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
      {result.id ? <a href={to.edit(macId, result.id)}>{title}</a> : <span>{title}</span>}
      <State tone={tone}>{result.error ? `${words}: ${result.error.message}` : words}</State>
    </li>
  );
}

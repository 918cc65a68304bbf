/** Pis on the network of the page's server that have no user yet. */

import { useEffect, useState } from 'preact/hooks';
import { judge } from '../judge.js';
import { canWrite, enroll, heartbeats, isAdmin, now, probe } from '../state.js';
import { Button } from '../ui/marks.jsx';

/**
 * Who is asked tries to log in, and has four attempts in five minutes: so the network is not asked with each look at the
 * page, and by itself for those only who can enrol somebody.
 */
const AGAIN_MS = 5 * 60 * 1000;
const KEPT = 'himbeerecouch.waiting';

function recall() {
  try {
    const { atMs, found } = JSON.parse(sessionStorage.getItem(KEPT));
    return Math.abs(Date.now() - atMs) < AGAIN_MS ? found : null;
  } catch {
    return null;
  }
}

function keep(found) {
  sessionStorage.setItem(KEPT, JSON.stringify({ atMs: Date.now(), found }));
}

/** What is known of the Pis that wait: {may, waiting, busy, words, states, look(), start(macId, replace)}. */
export function useWaiting() {
  const [found, setFound] = useState(recall);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const [states, setStates] = useState({});
  const look = async () => {
    setBusy(true);
    setError('');
    try {
      const answers = await probe();
      setFound(answers);
      keep(answers);
    } catch (problem) {
      setError(problem.reason);
    }
    setBusy(false);
  };
  const start = async (macId, replace) => {
    const note = (state) => setStates((old) => ({ ...old, [macId]: state }));
    note('busy');
    try {
      await enroll(macId, { replace });
      note('done');
      keep(found.map((each) => (each.mac_id === macId ? { ...each, enrolled: true } : each)));
    } catch (problem) {
      note(problem.error === 'enrolled' ? 'there' : problem.reason);
    }
  };
  useEffect(() => {
    if (isAdmin.value && !found) look();
  }, []);
  // One with a heartbeat may have been here in another life, with another password.
  const isThere = (macId) => judge(heartbeats.value.get(String(macId)), now.value, true).state === 'online';
  const waiting = (found ?? []).filter(({ mac_id: macId, enrolled }) => !enrolled && !isThere(macId));
  const words = error
    ? `Could not look for new Pis: ${error}`
    : found && !busy && !waiting.length && 'No new Pi waits on the network of this page’s server.';
  return { may: canWrite.value, waiting, busy, words, states, look, start };
}

export function LookForNew({ waiting: { may, busy, look } }) {
  if (!may) return null;
  return (
    <Button why={busy ? 'The network is being asked.' : ''} onClick={look}>
      {busy ? 'Looking for new Pis …' : 'Look for new Pis'}
    </Button>
  );
}

export function Waiting({ waiting: { may, waiting, words, states, start } }) {
  if (!may) return null;
  return (
    <section class="waiting" aria-label="Pis that wait to be enrolled">
      {waiting.map(({ mac_id: macId, address }) => (
        <div key={macId} class="banner info">
          <p>
            <strong>A Pi waits to be enrolled:</strong> <span class="mono">{macId}</span> at <span class="mono">{address}</span>. Its LED blinks.{' '}
            <span role="status">{wordsOf(states[macId])}</span>
          </p>
          <Enrol state={states[macId]} start={(replace) => start(macId, replace)} />
        </div>
      ))}
      <p class="quiet" role="status">
        {words}
      </p>
    </section>
  );
}

function Enrol({ state, start }) {
  const why = !isAdmin.value ? 'Only an admin can enrol a Pi.' : state === 'busy' ? 'It is being enrolled.' : state === 'done' ? 'It is enrolled.' : '';
  return (
    <Button kind="main" why={why} onClick={() => start(state === 'there')}>
      {state === 'there' ? 'Give the user its password' : 'Enrol'}
    </Button>
  );
}

function wordsOf(state) {
  if (state === 'busy') return 'Asking for its password, and making its user …';
  if (state === 'done') return 'It is enrolled, and logs in within moments, within five minutes at the latest.';
  if (state === 'there') return 'It has a user already, who logs in with another password.';
  return state ?? '';
}

/** Pis on the network of the page's server that have no user yet. */

import { useEffect, useState } from 'preact/hooks';
import { canWrite, enroll, heartbeats, isAdmin, probe } from '../state.js';
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

export function Waiting() {
  const [found, setFound] = useState(() => recall());
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const [enrolled, setEnrolled] = useState({});
  const look = async () => {
    setBusy(true);
    setError('');
    try {
      const answers = await probe();
      setFound(answers);
      sessionStorage.setItem(KEPT, JSON.stringify({ atMs: Date.now(), found: answers }));
    } catch (problem) {
      setError(problem.reason);
    }
    setBusy(false);
  };
  useEffect(() => {
    if (isAdmin.value && !found) look();
  }, []);
  if (!canWrite.value) return null;
  const waiting = (found ?? []).filter(({ mac_id, enrolled: known }) => !known && !heartbeats.value.has(String(mac_id)));
  const start = async (macId, replace = false) => {
    setEnrolled((old) => ({ ...old, [macId]: 'busy' }));
    try {
      await enroll(macId, { replace });
      setEnrolled((old) => ({ ...old, [macId]: 'done' }));
    } catch (problem) {
      const state = problem.error === 'enrolled' ? 'there' : problem.reason;
      setEnrolled((old) => ({ ...old, [macId]: state }));
    }
  };
  return (
    <section class="waiting" aria-label="Pis that wait to be enrolled">
      {waiting.map(({ mac_id: macId, address }) => (
        <div key={macId} class="banner info">
          <p>
            <strong>A Pi waits to be enrolled:</strong> <span class="mono">{macId}</span> at <span class="mono">{address}</span>. Its LED blinks.{' '}
            <span role="status">{wordsOf(enrolled[macId])}</span>
          </p>
          <Button kind="main" why={isAdmin.value ? (enrolled[macId] === 'busy' ? 'It is being enrolled.' : '') : 'Only an admin can enrol a Pi.'} onClick={() => start(macId, enrolled[macId] === 'there')}>
            {enrolled[macId] === 'there' ? 'Give the user its password' : 'Enrol'}
          </Button>
        </div>
      ))}
      <p class="looking quiet">
        <span role="status">
          {error ? `Could not look for new Pis: ${error}` : busy ? 'Looking for new Pis on this network …' : found && !waiting.length ? 'No new Pi waits on the network of this page’s server.' : ''}
        </span>{' '}
        <Button kind="plain" why={busy ? 'It is looking.' : ''} onClick={look}>
          {found ? 'Look again' : 'Look for new Pis'}
        </Button>
      </p>
    </section>
  );
}

function wordsOf(state) {
  if (state === 'busy') return 'Asking for its password, and making its user …';
  if (state === 'done') return 'It is enrolled, and logs in within moments, within five minutes at the latest.';
  if (state === 'there') return 'It has a user already, who logs in with another password.';
  return state ?? '';
}

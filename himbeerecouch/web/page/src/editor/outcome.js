// What the Pi says of a revision that was saved: one look at its heartbeat.  Pure.

import { generation } from './document.js';

/** A revision that was seen to run for so long has begun well: it had run for a second before, or runs for one by now. */
export const WELL_S = 1.4;
/** What runs for so long by the Pi's own word needs no second look; its clock may be a second off the server's. */
export const LONG_S = 10;
/** Then the Pi is said to be slow; it is waited for all the same. */
export const SLOW_S = 20;

/**
 * @typedef {"waiting" | "slow" | "offline" | "starting" | "running" | "finished" | "stopped" | "crashed" | "rejected" |
 *   "quarantined" | "rolled-back" | "overtaken" | "library"} Stage
 * @typedef {{stage: Stage, done: boolean, ok: boolean | null, since?: string | null, error?: string | null}} Outcome
 */

/**
 * @param {{id: string, rev: string, runs: boolean, savedAt: number}} saved `savedAt` and all times are Unix times in
 *   seconds, by the server's clock
 * @param {object | undefined} heartbeat the Pi's, or none
 * @param {{now: number, offline: boolean, seen: number | null}} moment `seen`: when it was first seen here to run
 * @returns {Outcome}
 */
export function outcome(saved, heartbeat, { now, offline, seen }) {
  if (!saved.runs) return { stage: 'library', done: true, ok: true };
  const entry = heartbeat?.programs?.[saved.id];
  // What it said before it went away is true all the same, where it is about this very revision.
  const told = entry && toldOf(saved, entry, { now, seen });
  if (told?.done) return told;
  if (offline) return { stage: 'offline', done: false, ok: null, since: heartbeat?.timestamp ?? null };
  if (told) return told;
  return { stage: now - saved.savedAt > SLOW_S ? 'slow' : 'waiting', done: false, ok: null };
}

/** Whether the Pi says that it runs that very revision. */
export function isSeenRunning(saved, heartbeat) {
  const entry = heartbeat?.programs?.[saved.id];
  return entry?.rev === saved.rev && entry.state === 'running';
}

function toldOf(saved, entry, { now, seen }) {
  const { state, since, error } = entry;
  if (entry.saved_rev === saved.rev && entry.rev !== saved.rev)
    return state === 'rolled-back' ? { stage: 'rolled-back', done: true, ok: false, since, error } : null;
  if (entry.rev !== saved.rev) {
    if (generation(entry.saved_rev ?? entry.rev) > generation(saved.rev))
      return { stage: 'overtaken', done: true, ok: null, since };
    return null;
  }
  const failure = entry.failures?.findLast((one) => one.rev === saved.rev);
  if (['rejected', 'quarantined'].includes(state)) return { stage: state, done: true, ok: false, since, error };
  if (state === 'crashed' || failure) return { stage: 'crashed', done: true, ok: false, since, error: failure?.error ?? error };
  if (state === 'backoff')
    return error ? { stage: 'crashed', done: true, ok: false, since, error } : { stage: 'finished', done: true, ok: true, since };
  if (state === 'finished' || state === 'stopped') return { stage: state, done: true, ok: true, since };
  if (state !== 'running') return { stage: 'starting', done: false, ok: null, since };
  const well = (seen !== null && now - seen >= WELL_S) || now - Date.parse(since) / 1000 >= LONG_S;
  return well ? { stage: 'running', done: true, ok: true, since } : { stage: 'starting', done: false, ok: null, since };
}

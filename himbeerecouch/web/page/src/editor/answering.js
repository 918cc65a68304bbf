/** What the Pi says of the revision of a program that is saved. */

import { computed, effect, signal, untracked } from '@preact/signals';
import { judge } from '../judge.js';
import { connection, heartbeats, now } from '../state.js';
import { runs } from './document.js';
import { isSeenRunning, outcome } from './outcome.js';

/** The server's time. */
export function seconds() {
  return (now.value ?? Date.now()) / 1000;
}

export class Answering {
  /** {rev, at}: the revision that is asked about, and when it was saved here, in seconds; null where it was before. */
  saved = signal({ rev: undefined, at: null });
  /** When the page first saw that it runs. */
  #seen = signal(null);

  constructor(macId, programId, base) {
    this.programId = programId;
    this.base = base;
    this.heartbeat = computed(() => heartbeats.value.get(macId));
    this.pi = computed(() => judge(this.heartbeat.value, now.value, connection.value.state === 'live'));
    /** As outcome() tells it, or `asking` and `unknown`; null for what is not saved, or before the time is known. */
    this.outcome = computed(() => this.#outcome());
  }

  /** Returns what ends it. */
  start() {
    return effect(() => this.#look());
  }

  about(rev, at = null) {
    this.saved.value = { rev, at };
    this.#seen.value = null;
  }

  #look() {
    const runsNow =
      this.saved.value.rev && isSeenRunning({ id: this.programId, rev: this.saved.value.rev }, this.heartbeat.value);
    untracked(() => {
      if (runsNow && this.#seen.value === null) this.#seen.value = seconds();
      if (!runsNow) this.#seen.value = null;
    });
  }

  #outcome() {
    const { value: saved } = this.saved;
    const { value: nowMs } = now;
    if (!saved.rev || nowMs === null) return null;
    if (this.pi.value.state === 'unknown') {
      return { stage: connection.value.state === 'connecting' ? 'asking' : 'unknown', done: false, ok: null };
    }
    const what = { id: this.programId, rev: saved.rev, runs: runs(this.base.value), savedAt: saved.at ?? 0 };
    const offline = this.pi.value.state !== 'online';
    return outcome(what, this.heartbeat.value, { now: nowMs / 1000, offline, seen: this.#seen.value });
  }
}

/** Follows a database's changes by long poll, and survives everything. */

import { ask, pathOf } from './couch.js';

const POLL_S = 20;
const GRACE_S = 10;
const BACKOFF_MOST_S = 30;
const RELOAD_S = 15 * 60;
const MISSING_S = 60;
/** So many polls may come back in a row at once; then one in PAUSE_S: a thousand Pis write 33 heartbeats a second. */
const BURST = 4;
const PAUSE_S = 0.5;
const LIMIT = 500;

/**
 * `selector()` is asked for before each poll; `load({signal})` reads what is there now; `onRows(rows)` takes what has
 * changed since: rows with `id`, `doc`, and `deleted` where it is gone. A row may come twice. `onState(state, error)`
 * is told `live`, `lost`, or `missing` where there is no such database.
 */
export class Feed {
  constructor({ database, selector, load, onRows, onState, onContact }) {
    Object.assign(this, { database, selector, load, onRows, onState, onContact });
    this.loop = null;
    this.since = null;
    this.tokens = BURST;
    this.refilledMs = 0;
  }

  get running() {
    return this.loop !== null;
  }

  start() {
    this.loop = {};
    this.failures = 0;
    this.mustLoad = true;
    this.#run(this.loop);
  }

  stop() {
    this.loop = null;
    this.#interrupt();
  }

  /** Asks again at once: the selector is another one, the machine woke up, or somebody pressed a button. */
  again({ reload = false } = {}) {
    this.mustLoad ||= reload;
    this.#interrupt();
  }

  #interrupt() {
    this.wake?.();
    this.poll?.abort();
  }

  async #run(loop) {
    while (this.loop === loop) {
      this.poll = new AbortController();
      const { signal } = this.poll;
      try {
        await this.#step(signal);
        if (signal.aborted) continue;
        this.failures = 0;
        this.onState('live');
        await this.#brake();
      } catch (error) {
        if (signal.aborted || this.loop !== loop) continue;
        await this.#recover(error);
      }
    }
  }

  async #step(signal) {
    if (this.mustLoad || this.failures || performance.now() - this.loadedMs > RELOAD_S * 1000) await this.#look(signal);
    else {
      const sentMs = performance.now();
      const answer = await ask('POST', pathOf(this.database, '_changes'), {
        query: { feed: 'longpoll', timeout: POLL_S * 1000, limit: LIMIT, since: this.since, filter: '_selector', include_docs: true },
        body: { selector: this.selector() },
        signal,
        timeoutS: POLL_S + GRACE_S,
        onHeaders: this.onContact,
      });
      if (!Array.isArray(answer.results) || !answer.last_seq) throw new Error('The answer is no changes feed.');
      if (!answer.results.length && performance.now() - sentMs < 1000 && answer.last_seq === this.since) {
        throw new Error('The server answers at once and says nothing: it may be in maintenance.');
      }
      if (signal.aborted) return;
      if (answer.results.length) this.onRows(answer.results);
      this.since = answer.last_seq;
    }
    this.onContact();
  }

  /** What is there now, and from where on to follow; after a failure, whether it still is the same database. */
  async #look(signal) {
    const info = await ask('GET', pathOf(this.database), { signal });
    const sequence = Number.parseInt(info.update_seq, 10);
    const wentBack = sequence < Number.parseInt(this.since, 10);
    if (this.mustLoad || wentBack || info.instance_start_time !== this.instance || performance.now() - this.loadedMs > RELOAD_S * 1000) {
      await this.load({ signal });
      if (signal.aborted) return;
      this.since = info.update_seq;
      this.instance = info.instance_start_time;
      this.loadedMs = performance.now();
      this.mustLoad = false;
    }
    this.failures = 0;
  }

  async #recover(error) {
    this.failures += 1;
    if (error.status === 400 || error.status === 404) this.mustLoad = true;
    this.onState(error.status === 404 ? 'missing' : 'lost', error);
    const mostS = error.status === 404 || error.status === 403 ? MISSING_S : Math.min(BACKOFF_MOST_S, 2 ** (this.failures - 1));
    // At least a little: a server that refuses at once is not asked a thousand times a second.
    await this.#sleep(0.2 + Math.random() * mostS);
  }

  async #brake() {
    const nowMs = performance.now();
    this.tokens = Math.min(BURST, this.tokens + (nowMs - this.refilledMs) / (PAUSE_S * 1000));
    this.refilledMs = nowMs;
    this.tokens -= 1;
    if (this.tokens < 0) await this.#sleep(PAUSE_S);
  }

  #sleep(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

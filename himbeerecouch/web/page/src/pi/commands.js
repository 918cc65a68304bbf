/** What a command document means. Pure. */

import { answer, words } from '../lenient.js';

/** As a person would type it. */
export function textOf(doc) {
  if (doc.action) return Object.hasOwn(ACTIONS, doc.action) ? ACTIONS[doc.action] : String(doc.action);
  const cmd = words(doc);
  if (cmd.length === 3 && cmd[0] === 'sh' && cmd[1] === '-c') return cmd[2];
  return cmd.map((word) => (PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ');
}

const ACTIONS = { identify: 'blink its LED', restart: 'restart the daemon', rotate: 'make a new password' };
const PLAIN = /^[\w@%+=:,./-]+$/;

/** The argv of what a person typed: plain words as they are, all else is the shell's. */
export function argvOf(text) {
  const words = text.trim().split(/\s+/);
  return words.every((word) => PLAIN.test(word)) ? words : ['sh', '-c', text.trim()];
}

/**
 * {tone, words, over}: how far the command is. `nowMs` is the server's time; `online` is whether the Pi is there, as far as is known.
 */
export function outcome(doc, nowMs, online) {
  const { state, exit_code: code, signal } = doc.execution ?? {};
  if ('ret' in doc) {
    const [out, reason] = answer(doc);
    if (state === 'done' || (!state && out !== null)) return { tone: 'good', words: 'exit status 0', over: true };
    const ended = { timeout: 'ended: it took too long', cancelled: 'cancelled', expired: 'not started: it was too late', interrupted: 'interrupted', rejected: 'rejected' }[state];
    if (ended) return { tone: state === 'cancelled' || state === 'expired' ? 'calm' : 'bad', words: ended, over: true };
    if (signal) return { tone: 'bad', words: `ended by signal ${signal}`, over: true };
    if (typeof code === 'number') return { tone: 'bad', words: `exit status ${code}`, over: true };
    return { tone: 'bad', words: out === null && reason ? 'could not be started' : 'failed', over: true };
  }
  if (state === 'running' && !online) return { tone: 'unknown', words: 'ran when the Pi was last heard of', over: false };
  if (state === 'running') return { tone: 'busy', words: doc.cancel ? 'is being ended' : 'runs', over: false };
  if (doc.expires && nowMs !== null && Date.parse(doc.expires) + 5000 < nowMs) return { tone: 'calm', words: 'not started: the Pi did not take it in time', over: true };
  return { tone: 'busy', words: online ? 'waits for the Pi' : 'waits: the Pi is not online', over: false };
}

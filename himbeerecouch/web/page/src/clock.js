/**
 * The server's time, learned from the Date headers of its answers: the clock of the machine that shows the page may be
 * wrong, and is never used to judge anything.
 */

const RESOLUTION_MS = 1000;

let offsetMs = null;

/**
 * Takes the time of an answer, whose request was sent at `sentMs` of performance.now(), and whose headers came at `atMs`:
 * the server looked at its clock in between, and a Date header is cut to whole seconds. What is known is moved no further
 * than it has to be to agree with that: so an answer that was long on its way says nothing wrong.
 */
export function learn(dateHeader, { sentMs, atMs = performance.now() }) {
  const serverMs = Date.parse(dateHeader ?? '');
  if (Number.isNaN(serverMs)) return;
  const [least, most] = [serverMs - atMs, serverMs + RESOLUTION_MS - sentMs];
  offsetMs = Math.min(Math.max(offsetMs ?? least, least), most);
}

/** The server's time in milliseconds since 1970; null as long as it has told none. */
export function serverNow() {
  return offsetMs === null ? null : offsetMs + performance.now();
}

/** RFC 3339 in UTC, by the server's clock, `laterS` from now. */
export function serverTimestamp(laterS = 0) {
  return new Date((serverNow() ?? Date.now()) + laterS * 1000).toISOString();
}

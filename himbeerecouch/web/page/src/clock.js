/**
 * The server's time, learned from the Date headers of its answers: the clock of the machine that shows the page may be
 * wrong, and is never used to judge anything.
 */

const RESOLUTION_MS = 1000;

let offsetMs = null;

/** Takes the time of an answer whose headers came at `atMs` of performance.now(). */
export function learn(dateHeader, atMs = performance.now()) {
  const serverMs = Date.parse(dateHeader ?? '');
  if (Number.isNaN(serverMs)) return;
  const sampleMs = serverMs - atMs;
  // A Date header is cut to whole seconds, so that the latest of all samples is the nearest; one that is far off says
  // that the server's clock was set, or that this machine slept.
  if (offsetMs === null || Math.abs(sampleMs - offsetMs) > 2 * RESOLUTION_MS) offsetMs = sampleMs;
  else offsetMs = Math.max(offsetMs, sampleMs);
}

/** The server's time in milliseconds since 1970; null as long as it has told none. */
export function serverNow() {
  return offsetMs === null ? null : offsetMs + performance.now();
}

/** RFC 3339 in UTC, by the server's clock, `laterS` from now. */
export function serverTimestamp(laterS = 0) {
  return new Date((serverNow() ?? Date.now()) + laterS * 1000).toISOString();
}

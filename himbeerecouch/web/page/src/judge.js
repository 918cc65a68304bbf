/** What a heartbeat means: pure, with the time and whether the present is known as arguments. */

/** So many intervals without a heartbeat, and the Pi is off or has no network. */
const MISSED = 3;
/** No daemon promises less often than that to write. */
const LONGEST_INTERVAL_S = 600;
const HOT_C = 80;
const FULL = 0.05;

/** How the states of a program are shown: [tone, words]. */
export const PROGRAM_STATES = {
  starting: ['busy', 'starting'],
  running: ['good', 'running'],
  stopping: ['busy', 'stopping'],
  finished: ['calm', 'finished'],
  stopped: ['calm', 'stopped'],
  crashed: ['bad', 'crashed'],
  backoff: ['bad', 'crashed, waits'],
  'rolled-back': ['bad', 'rolled back'],
  quarantined: ['bad', 'quarantined'],
  rejected: ['bad', 'rejected'],
};

/** How the states of a Pi are shown. */
export const PI_STATES = {
  online: ['good', 'online'],
  offline: ['bad', 'offline'],
  stopped: ['calm', 'stopped'],
  unknown: ['unknown', 'unknown'],
  never: ['unknown', 'never seen'],
};

/** [tone, words] for a program of a heartbeat. */
export function shownState({ state, error }) {
  // Where it is always to begin again, it waits for that after a good end as well.
  if (state === 'backoff' && !error) return ['busy', 'between two runs'];
  return Object.hasOwn(PROGRAM_STATES, state) ? PROGRAM_STATES[state] : ['unknown', state];
}

export function isFailing(program) {
  return shownState(program)[0] === 'bad';
}

/**
 * What is known of a Pi now: {state, seenMs, failing, running, warnings}.
 *
 * `nowMs` is the server's time, null where it is not known; `live` is whether the page hears of changes. Without both
 * nothing is known about the present, and no Pi is online or offline.
 */
export function judge(beat, nowMs, live) {
  if (!beat) return { state: live ? 'never' : 'unknown', seenMs: null, failing: [], running: [], warnings: [] };
  const told = tellings.get(beat) ?? read(beat);
  tellings.set(beat, told);
  return { ...told, state: stateOf(beat, told.seenMs ?? Number.NaN, nowMs, live) };
}

/** What a heartbeat says does not change: it is judged again every second. */
const tellings = new WeakMap();

function read(beat) {
  const seenMs = Date.parse(beat.timestamp);
  const each = Object.entries(beat.programs ?? {}).map(([id, program]) => ({ id, ...program }));
  const failing = each.filter(isFailing);
  const known = new Set(failing.map(({ id }) => id));
  for (const { id, reason } of beat.rejected ?? []) {
    if (!known.has(id)) failing.push({ id, name: id, state: 'rejected', error: reason });
  }
  return {
    seenMs: Number.isNaN(seenMs) ? null : seenMs,
    failing,
    running: each.filter(({ state }) => state === 'running'),
    warnings: warningsOf(beat.health ?? {}),
  };
}

function stateOf(beat, seenMs, nowMs, live) {
  if (!live || nowMs === null) return 'unknown';
  if (beat.state === 'stopped') return 'stopped';
  // Also where the times are no numbers: what can't be judged is not alive. Nor is what comes from the future, written
  // before the server's clock was set: it would pass for alive until that time comes.
  const goodForMs = MISSED * Math.min(beat.interval_s, LONGEST_INTERVAL_S) * 1000;
  return Math.abs(nowMs - seenMs) <= goodForMs ? 'online' : 'offline';
}

function warningsOf(health) {
  const warnings = [];
  if (health.under_voltage) warnings.push('under-voltage');
  if (health.cpu_temperature_c >= HOT_C) warnings.push('hot');
  if (health.disk_total_bytes > 0 && health.disk_free_bytes < FULL * health.disk_total_bytes) warnings.push('disk nearly full');
  if (health.disk_read_only) warnings.push('disk read-only');
  return warnings;
}

/** Why a Pi in that state does nothing now, in words; the empty string for one that is online. */
export function absence(state) {
  if (state === 'online') return '';
  return state === 'unknown' ? 'Whether the Pi is online is not known.' : 'The Pi is not online.';
}

const URGENCY = { offline: 0, failing: 1, warning: 2, never: 3, unknown: 4, online: 5, stopped: 6 };

/** The lower, the sooner somebody has to look. */
export function urgency({ state, failing, warnings }) {
  if (state === 'offline' || state === 'stopped') return URGENCY[state];
  if (failing.length) return URGENCY.failing;
  if (warnings.length) return URGENCY.warning;
  return URGENCY[state];
}

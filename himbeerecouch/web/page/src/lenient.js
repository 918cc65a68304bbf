/**
 * Reads what anybody may have written: what is not as it should be is as if it were not there, so that the document of one
 * Pi never hides the others. Pure.
 */

const text = (value) => (typeof value === 'string' ? value : null);
const number = (value) => (typeof value === 'number' && Number.isFinite(value) ? value : null);
const flag = (value) => (typeof value === 'boolean' ? value : null);
const list = (value) => (Array.isArray(value) ? value : []);
const mapping = (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {});

/** Without what every object has: an id may be “constructor”. */
function each(value, read) {
  const found = Object.create(null);
  for (const [key, one] of Object.entries(mapping(value))) found[key] = read(mapping(one), key);
  return found;
}

/** A heartbeat, or what passes for one. */
export function heartbeat(doc) {
  const { health, versions } = doc;
  return {
    ...doc,
    state: text(doc.state),
    timestamp: text(doc.timestamp),
    interval_s: number(doc.interval_s),
    ip: text(doc.ip),
    hostname: text(doc.hostname) || null,
    boot_time: text(doc.boot_time),
    started: text(doc.started),
    clock_offset_s: number(doc.clock_offset_s),
    versions: Object.fromEntries(Object.entries(mapping(versions)).filter(([, version]) => text(version) !== null)),
    health: healthOf(mapping(health)),
    programs: each(doc.programs, program),
    rejected: list(doc.rejected).map(mapping).filter(({ id }) => text(id) !== null).map(({ id, reason }) => ({ id, reason: text(reason) ?? '' })),
    rejected_left_out: number(doc.rejected_left_out) ?? 0,
  };
}

function healthOf(health) {
  const numbers = ['cpu_temperature_c', 'memory_total_bytes', 'memory_available_bytes', 'disk_total_bytes', 'disk_free_bytes'];
  return {
    ...Object.fromEntries(numbers.map((name) => [name, number(health[name])])),
    ...Object.fromEntries(['under_voltage', 'disk_read_only'].map((name) => [name, flag(health[name])])),
    load: Array.isArray(health.load) && health.load.every((one) => number(one) !== null) ? health.load : null,
  };
}

function program(told, id) {
  return {
    name: text(told.name) || id,
    rev: text(told.rev),
    saved_rev: text(told.saved_rev),
    state: text(told.state) ?? 'unknown',
    since: text(told.since),
    restarts: number(told.restarts) ?? 0,
    error: text(told.error),
    failures: list(told.failures).map(mapping).map(failure),
  };
}

function failure(told) {
  return { rev: text(told.rev), time: text(told.time), error: text(told.error) ?? '', log: list(told.log).filter((line) => text(line) !== null) };
}

/** A log document, or what passes for one. */
export function logDocument(doc) {
  const programs = each(doc.programs, (told, id) => ({
    name: text(told.name) || id,
    lines: list(told.lines).filter((line) => text(line) !== null),
    dropped_lines: number(told.dropped_lines) ?? 0,
  }));
  return { ...doc, timestamp: text(doc.timestamp), programs };
}

/** What people call a program: the name in its document, or what the Pi called it, else its id. */
export function programName(doc, told, id) {
  return text(doc?.name) || told?.name || id;
}

/** The words of a command document; none where it has none. */
export function words(doc) {
  return list(doc.cmd).map(String);
}

/** Its answer: [stdout or null, stderr or reason]. */
export function answer(doc) {
  const [out, err] = list(doc.ret);
  return [text(out), text(err)];
}

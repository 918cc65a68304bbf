/** The Pis in the order in which they need somebody, as signals. */

import { computed, signal } from '@preact/signals';
import { judge, urgency } from '../judge.js';
import { connection, heartbeats, names, now } from '../state.js';

/** What is typed into the filter, and which kind of Pis is shown: kept while one looks at a Pi. */
export const filter = signal('');
export const kind = signal('all');

export const KINDS = [
  ['all', 'All', () => true],
  ['attention', 'Need attention', (row) => row.urgency <= 2],
  ['offline', 'Offline', (row) => row.judged.state === 'offline'],
  ['failing', 'Failing', (row) => row.judged.failing.length > 0],
];

const collator = new Intl.Collator('en', { numeric: true });
let byTitle = [];

/** Every Pi that was heard of or has a name, [MacID, title] in the order of the titles: heartbeats rarely change it. */
const titled = computed(() => {
  const titles = new Map();
  for (const [macId, beat] of heartbeats.value) titles.set(macId, names.value.get(macId) ?? beat.hostname ?? macId);
  for (const [macId, name] of names.value) titles.set(macId, name);
  if (byTitle.length !== titles.size || byTitle.some(([macId, title]) => titles.get(macId) !== title)) {
    byTitle = [...titles].sort(([a, one], [b, other]) => collator.compare(one, other) || collator.compare(a, b));
  }
  return byTitle;
});

/** Each of them judged by the server's time of this second, those first that need somebody. */
const sorted = computed(() => {
  const live = connection.value.state === 'live';
  const each = titled.value.map(([macId, title]) => row(macId, title, live));
  return each.sort((a, b) => a.urgency - b.urgency);
});

function row(macId, title, live) {
  const beat = heartbeats.value.get(macId);
  const judged = judge(beat, now.value, live);
  return { macId, beat, title, judged, urgency: urgency(judged) };
}

const matching = computed(() => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return sorted.value;
  return sorted.value.filter((each) => {
    const text = textOf(each);
    return words.every((word) => text.includes(word));
  });
});

/** Everything that the filter looks at. */
function textOf({ macId, title, beat, judged: { state, warnings } }) {
  const programs = Object.values(beat?.programs ?? {}).map((program) => `${program.name} ${program.state}`);
  const versions = Object.values(beat?.versions ?? {});
  return [macId, title, beat?.hostname, beat?.ip, state, ...warnings, ...programs, ...versions].join('\n').toLowerCase();
}

/** How many there are of each kind, and those that are to be shown. */
export const counts = computed(() => Object.fromEntries(KINDS.map(([key, , test]) => [key, matching.value.filter(test).length])));
export const rows = computed(() => matching.value.filter(KINDS.find(([key]) => key === kind.value)[2]));
export const total = computed(() => sorted.value.length);

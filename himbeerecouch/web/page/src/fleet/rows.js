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

/** Every Pi that was heard of or has a name, judged by the server's time of this second. */
const judged = computed(() => {
  const live = connection.value.state === 'live';
  const macIds = new Set([...heartbeats.value.keys(), ...names.value.keys()]);
  return [...macIds].map((macId) => row(macId, heartbeats.value.get(macId), names.value.get(macId), live));
});

function row(macId, beat, name, live) {
  const verdict = judge(beat, now.value, live);
  return { macId, beat, title: name ?? beat?.hostname ?? macId, judged: verdict, urgency: urgency(verdict) };
}

const collator = new Intl.Collator('en', { numeric: true });

const sorted = computed(() =>
  judged.value.toSorted((a, b) => a.urgency - b.urgency || collator.compare(a.title, b.title) || collator.compare(a.macId, b.macId)),
);

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
export const total = computed(() => judged.value.length);

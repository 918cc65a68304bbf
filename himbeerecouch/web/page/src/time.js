/** Times as people read them. */

const STEPS = [
  [60, 1, 's'],
  [3600, 60, 'min'],
  [48 * 3600, 3600, 'h'],
  [Infinity, 86400, 'days'],
];

/** A duration in its largest unit that makes sense: "12 s", "3 min", "5 h", "12 days". */
export function duration(seconds) {
  const whole = Math.max(0, seconds);
  const [, unit, name] = STEPS.find(([below]) => whole < below);
  return `${Math.floor(whole / unit)} ${name}`;
}

/** The time in the time zone of whoever reads it, with its date where that is another day. */
export function clockTime(ms, nowMs) {
  const time = new Date(ms);
  const sameDay = nowMs !== null && new Date(nowMs).toDateString() === time.toDateString();
  return sameDay ? time.toLocaleTimeString() : time.toLocaleString();
}

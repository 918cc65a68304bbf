/** Small things that are shown in many places. */

import { PI_STATES, shownState } from '../judge.js';
import { now } from '../state.js';
import { clockTime, duration } from '../time.js';

const SHAPES = {
  good: <circle cx="6" cy="6" r="4.5" />,
  bad: <path d="M6 .8 11.6 11H.4Z" />,
  busy: <path d="M6 1.5A4.5 4.5 0 1 0 10.5 6" fill="none" stroke="currentColor" stroke-width="2" />,
  calm: <rect x="2" y="2" width="8" height="8" rx="1" />,
  unknown: <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.6" stroke-dasharray="2.6 1.6" />,
};

/** A state by shape, colour and word. */
export function State({ tone, children }) {
  return (
    <span class={`state ${tone}`} style={{ '--tone': `var(--${tone})` }}>
      <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
        {SHAPES[tone]}
      </svg>
      <span>{children}</span>
    </span>
  );
}

export function PiState({ state }) {
  const [tone, words] = PI_STATES[state];
  return <State tone={tone}>{words}</State>;
}

/** The state of a program of a heartbeat; `current` is whether that is so now, else it is what was last heard. */
export function ProgramState({ program, current = true }) {
  const [tone, words] = shownState(program);
  return current ? <State tone={tone}>{words}</State> : <State tone="unknown">{`was ${words}`}</State>;
}

const AHEAD_S = 60;

/** How long ago that was by the server's clock; where one points at it, when exactly. */
export function Ago({ ms, suffix = ' ago' }) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return <span>–</span>;
  const exact = new Date(ms);
  const ageS = now.value === null ? null : (now.value - ms) / 1000;
  // What lies ahead by more than two clocks may differ is no age: some clock was wrong, and which time it said is all there is.
  const noAge = ageS === null || ageS < -AHEAD_S;
  const shown = noAge ? clockTime(ms, now.value) : ageS < 1 && suffix ? 'just now' : `${duration(ageS)}${suffix}`;
  return (
    <time datetime={exact.toISOString()} title={exact.toLocaleString()}>
      {shown}
    </time>
  );
}

/** A link that looks like a button; where `why` says so, it leads nowhere. */
export function ButtonLink({ why = '', href, kind = '', children }) {
  if (why) return <Button why={why} kind={kind}>{children}</Button>;
  return (
    <a class={`button ${kind}`} href={href}>
      {children}
    </a>
  );
}

/** A button that says why it can't be pressed: it stays reachable by keyboard, so that the reason is. */
export function Button({ why = '', onClick, children, kind = '', ...rest }) {
  return (
    <button
      type="button"
      class={`button ${kind}`}
      aria-disabled={why ? 'true' : undefined}
      title={why || undefined}
      aria-description={why || undefined}
      onClick={(event) => (why ? event.preventDefault() : onClick?.(event))}
      {...rest}
    >
      {children}
    </button>
  );
}

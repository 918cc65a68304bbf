/** How the Pi treats the program; saved with it. */

import { useId } from 'preact/hooks';
import { RESTARTS } from './document.js';

const RESTART_WORDS = {
  'on-failure': 'when it has crashed',
  always: 'whenever it has ended',
  never: 'never',
};

const SWITCHES = [
  ['stopped', 'Stopped', 'The Pi does not run it; its global modules still count.'],
  ['rollback', 'Roll back by itself', 'A new revision that crashes three times in a row gives way to the one before.'],
  ['offline', 'Start without the server', 'After a boot the Pi runs it from its disk, also where the server is away.'],
];

export function Options({ session, mayWrite }) {
  const { options } = session.work.value;
  const id = useId();
  return (
    <fieldset class="options" disabled={!mayWrite}>
      <legend>How it is run</legend>
      <label class="option-restart">
        <span>Start it again</span>
        <select value={options.restart} onChange={(event) => session.setOption('restart', event.target.value)}>
          {RESTARTS.map((restart) => (
            <option key={restart} value={restart}>
              {RESTART_WORDS[restart]}
            </option>
          ))}
        </select>
      </label>
      {SWITCHES.map(([key, label, note]) => (
        <div class="option" key={key}>
          <label>
            <input
              type="checkbox"
              checked={options[key]}
              aria-describedby={`${id}-${key}`}
              onChange={(event) => session.setOption(key, event.target.checked)}
            />
            {label}
          </label>
          <p id={`${id}-${key}`} class="quiet">
            {note}
          </p>
        </div>
      ))}
    </fieldset>
  );
}

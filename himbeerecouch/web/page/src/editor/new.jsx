/** A program that is not there yet: its name, and the Pi that is to run it. */

import { useId, useState } from 'preact/hooks';
import { go, to } from '../route.js';
import { canWrite, heartbeats, names, titleOf, whyReadOnly } from '../state.js';
import { programNamed } from './copying.js';
import { programId, programNameError, read } from './document.js';
import './editor.css';

/** Every Pi that is known, by what people call it. */
export function knownPis() {
  const all = new Set([...heartbeats.value.keys(), ...names.value.keys()]);
  return [...all].map((macId) => ({ macId, title: titleOf(macId) })).sort((one, other) => one.title.localeCompare(other.title));
}

export function NewProgram({ macId }) {
  const pis = knownPis();
  const [pi, setPi] = useState(macId ?? '');
  const [name, setName] = useState('');
  const [problem, setProblem] = useState(null);
  const id = useId();
  const chosen = pi || (pis.length === 1 ? pis[0].macId : '');
  const submit = async (event) => {
    event.preventDefault();
    const error = programNameError(name) ?? (chosen ? null : 'Choose the Pi that is to run it.');
    if (error) return setProblem(error);
    try {
      const there = await programNamed(chosen, name);
      if (there && read(there).name === name) return setProblem(`${titleOf(chosen)} has a program ${name} already.`);
      if (there)
        return setProblem(
          `A program of ${titleOf(chosen)} was called ${name} once, and is ${read(there).name} now: take another name.`,
        );
      go(to.edit(chosen, programId(chosen, name)));
    } catch (failure) {
      setProblem(failure.message);
    }
  };
  return (
    <main class="editor">
      <nav aria-label="Where this is" class="crumbs">
        <a href={to.fleet()}>Pis</a>
        {macId && (
          <>
            {' '}
            <span aria-hidden="true">/</span> <a href={to.pi(macId)}>{titleOf(macId)}</a>
          </>
        )}
      </nav>
      <h1 tabIndex={-1}>New program</h1>
      {canWrite.value ? (
        <form class="panel new-program" onSubmit={submit}>
          <label>
            Name
            <input
              value={name}
              required
              autofocus
              autocomplete="off"
              autocapitalize="none"
              spellcheck={false}
              aria-describedby={id}
              onInput={(event) => {
                setName(event.target.value);
                setProblem(null);
              }}
            />
          </label>
          <label>
            Pi
            <select value={chosen} onChange={(event) => setPi(event.target.value)}>
              {!chosen && <option value="">Choose one</option>}
              {chosen && !pis.some((one) => one.macId === chosen) && <option value={chosen}>{titleOf(chosen)}</option>}
              {pis.map((one) => (
                <option key={one.macId} value={one.macId}>
                  {one.title}
                  {one.title === one.macId ? '' : ` (${one.macId})`}
                </option>
              ))}
            </select>
          </label>
          <p id={id} class={problem ? 'bad-text' : 'quiet'} role={problem ? 'alert' : undefined}>
            {problem ?? 'You write its code next. Nothing runs before you save it.'}
          </p>
          <button class="button main">Write it</button>
        </form>
      ) : (
        <p class="notice">{whyReadOnly.value}</p>
      )}
    </main>
  );
}

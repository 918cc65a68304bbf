import { useEffect } from 'preact/hooks';
import { to } from '../route.js';
import { openedState, openPi, programs, titleOf } from '../state.js';

/** The program's sources. */
export function Editor({ macId, programId }) {
  useEffect(() => openPi(macId), [macId]);
  const doc = programs.value.get(programId);
  const modules = { ...(doc?.modules ?? {}), ...(doc?.code === undefined ? {} : { main: doc.code }) };
  return (
    <main>
      <h1 tabIndex={-1}>{doc?.name ?? programId}</h1>
      <p>
        on <a href={to.pi(macId)}>{titleOf(macId)}</a>
      </p>
      {!doc && <p class="quiet">{openedState.value.ready ? 'There is no such program.' : 'Asking the database …'}</p>}
      {Object.entries(modules).map(([name, source]) => (
        <section key={name}>
          <h2>{name}</h2>
          <pre tabIndex={0}>{source}</pre>
        </section>
      ))}
    </main>
  );
}

export function NewProgram() {
  return (
    <main>
      <h1 tabIndex={-1}>New program</h1>
    </main>
  );
}

import { useEffect, useLayoutEffect } from 'preact/hooks';
import { shownState } from '../judge.js';
import { to } from '../route.js';
import { connection, openPi, whyReadOnly } from '../state.js';
import { Ago, ButtonLink, PiState, State } from '../ui/marks.jsx';
import { counts, filter, KINDS, kind, rows, total } from './rows.js';
import { useRowsInSight } from './virtual.js';
import { LookForNew, useWaiting, Waiting } from './waiting.jsx';

/** How far down one was, for whoever comes back from a Pi. */
let leftAtPx = 0;

export function Fleet() {
  useEffect(() => {
    document.title = 'Pis – himbeerecouch';
    openPi(null);
  }, []);
  useLayoutEffect(() => {
    scrollTo(0, leftAtPx);
    const note = () => (leftAtPx = scrollY);
    addEventListener('scroll', note, { passive: true });
    return () => removeEventListener('scroll', note);
  }, []);
  const waiting = useWaiting();
  return (
    <main class="fleet">
      <div class="head">
        <h1 tabIndex={-1}>Pis</h1>
        {total.value > 0 && <Filter />}
        <LookForNew waiting={waiting} />
        <ButtonLink kind="main" why={whyReadOnly.value} href={to.create()}>
          New program
        </ButtonLink>
      </div>
      <Waiting waiting={waiting} />
      {total.value > 0 ? <List /> : <Nothing />}
    </main>
  );
}

function Filter() {
  return (
    <search class="filter">
      <input
        type="search"
        aria-label="Filter the Pis by name, MacID, address, program or version"
        placeholder="Name, MacID, address, program …"
        value={filter.value}
        onInput={(event) => (filter.value = event.target.value)}
      />
      <div class="chips" role="group" aria-label="Which Pis to show">
        {KINDS.map(([key, words]) => (
          <button key={key} type="button" class="chip" aria-pressed={kind.value === key} onClick={() => (kind.value = key)}>
            {words} <span class="count">{counts.value[key]}</span>
          </button>
        ))}
      </div>
    </search>
  );
}

function List() {
  const all = rows.value;
  const { ref, start, end, rowPx } = useRowsInSight(all.length);
  const moveFocus = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const index = Number(event.target.closest('[data-row]')?.dataset.row);
    if (!step || Number.isNaN(index)) return;
    const next = ref.current.querySelector(`[data-row="${index + step}"] a`);
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.scrollIntoView({ block: 'nearest' });
  };
  return (
    <>
      <p class="sr-only" role="status">
        {all.length} of {total.value} Pis are shown
      </p>
      {all.length === 0 && <p class="empty">No Pi is like that.</p>}
      <table role="table" class="pis" aria-rowcount={all.length + 1} aria-label="Pis, those that need attention first" onKeyDown={moveFocus}>
        <thead role="rowgroup">
          <tr role="row" aria-rowindex={1}>
            {['State', 'Pi', 'Programs', 'Health', 'Address', 'Version', 'Last heard'].map((words) => (
              <th key={words} role="columnheader" scope="col">
                {words}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup" ref={ref}>
          {start > 0 && <Spacer px={start * rowPx} />}
          {all.slice(start, end).map((row, index) => (
            <Row key={row.macId} row={row} index={start + index} />
          ))}
          {end < all.length && <Spacer px={(all.length - end) * rowPx} />}
        </tbody>
      </table>
    </>
  );
}

function Spacer({ px }) {
  return (
    <tr aria-hidden="true" class="spacer" style={{ height: `${px}px` }}>
      <td colSpan={7} />
    </tr>
  );
}

function Row({ row: { macId, beat, title, judged }, index }) {
  return (
    <tr role="row" data-row={index} aria-rowindex={index + 2} class={judged.state}>
      <td role="cell" class="of-state">
        <PiState state={judged.state} />
      </td>
      <td role="cell" class="of-name">
        <a href={to.pi(macId)}>{title}</a>
        <span class="mono quiet">{title === macId ? (beat?.hostname ?? '') : macId}</span>
      </td>
      <td role="cell" class="of-programs">
        <Programs judged={judged} />
      </td>
      <td role="cell" class="of-health">
        <Health beat={beat} warnings={judged.warnings} current={judged.state === 'online'} />
      </td>
      <td role="cell" class="of-address mono">
        {beat?.ip ?? '–'}
      </td>
      <td role="cell" class="of-version mono">
        {beat?.versions?.himbeerecouch ?? '–'}
      </td>
      <td role="cell" class="of-seen">
        <Ago ms={judged.seenMs} />
      </td>
    </tr>
  );
}

function Programs({ judged: { state, failing, running } }) {
  const current = state === 'online';
  if (!failing.length && !running.length) return <span class="quiet">none runs</span>;
  return (
    <>
      {failing.length > 0 && (
        <State tone={current ? 'bad' : 'unknown'}>
          {failing[0].name} {shownState(failing[0])[1]}
          {failing.length > 1 && ` and ${failing.length - 1} more`}
        </State>
      )}
      {running.length > 0 && (
        <span class={failing.length ? 'quiet' : ''}>
          {running.length === 1 ? running[0].name : running.length} {current ? (running.length === 1 ? 'runs' : 'run') : 'ran'}
        </span>
      )}
    </>
  );
}

function Health({ beat, warnings, current }) {
  const celsius = beat?.health?.cpu_temperature_c;
  return (
    <>
      {warnings.length > 0 && <State tone={current ? 'bad' : 'unknown'}>{warnings.join(', ')}</State>}
      {typeof celsius === 'number' ? <span class="number">{celsius.toFixed(0)} °C</span> : warnings.length === 0 && '–'}
    </>
  );
}

/** There are no Pis; only while the page hears of changes that says anything. */
function Nothing() {
  const { state } = connection.value;
  if (state === 'live') return <Nobody />;
  return <p class="quiet">{state === 'connecting' ? 'Asking the database …' : 'Nothing is known of any Pi.'}</p>;
}

function Nobody() {
  return (
    <section class="panel first-steps">
      <h2>No Pi has reported yet</h2>
      <ol>
        <li>
          On a Raspberry Pi, install himbeerecouch, write the address of the CouchDB server into <code>/etc/rspby/server</code>, and start the
          daemon: <code>twistd himbeerecouch --server-file /etc/rspby/server</code>
        </li>
        <li>
          Where the Pi is on the same network as the server of this page, it shows up here as waiting, with a button that enrols it. Else run{' '}
          <code>himbeerecouch enroll</code> on any machine of its network.
        </li>
        <li>It logs in within moments, and stands here as online. Then give it a program.</li>
      </ol>
    </section>
  );
}

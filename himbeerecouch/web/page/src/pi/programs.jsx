/** The programs of a Pi: what is saved, beside what runs. */

import { useState } from 'preact/hooks';
import { isFailing } from '../judge.js';
import { programName } from '../lenient.js';
import { to } from '../route.js';
import { openedState, programs, removeProgram, setStopped, whyReadOnly } from '../state.js';
import { Dialog } from '../ui/dialog.jsx';
import { Ago, Button, ButtonLink, ProgramState, State } from '../ui/marks.jsx';
import { Traceback } from '../ui/traceback.jsx';

/** Every program that is saved for the Pi, or that it tells of: {id, doc, told}. */
function together(docs, beat) {
  const told = beat?.programs ?? {};
  const ids = new Set([...docs.keys(), ...Object.keys(told)]);
  const each = [...ids].map((id) => ({ id, doc: docs.get(id), told: told[id], name: programName(docs.get(id), told[id], id) }));
  return each.sort((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
}

/** `state` is that of the Pi, and `online` whether what it told holds now. */
export function Programs({ macId, beat, state, online, showLog }) {
  const each = together(programs.value, beat);
  const { ready, error } = openedState.value;
  return (
    <section class="programs" aria-labelledby="programs">
      <div class="section-head">
        <h2 id="programs">Programs</h2>
        <ButtonLink kind="main" why={whyReadOnly.value} href={to.create(macId)}>
          New program
        </ButtonLink>
      </div>
      {error && (
        <p class="notice bad" role="alert">
          The programs could not be read: {error.message}
        </p>
      )}
      {!ready && !error && <p class="quiet">Asking the database …</p>}
      {ready && !each.length && <p class="panel quiet">No program is saved for this Pi. “New program” begins one.</p>}
      {ready && each.map((one) => <Program key={one.id} macId={macId} {...one} state={state} online={online} showLog={showLog} />)}
      <Rejected rejected={beat?.rejected ?? []} leftOut={beat?.rejected_left_out ?? 0} />
    </section>
  );
}

const isLibrary = (doc) => doc && doc.code === undefined && !doc.modules && Boolean(doc.global_modules);

function Program({ macId, id, doc, told, name, state, online, showLog }) {
  const [dialog, setDialog] = useState('');
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const stopped = Boolean(doc?.stopped);
  const why = whyReadOnly.value || (doc ? '' : 'Its document is gone.') || (busy ? 'It is being saved.' : '');
  const toggle = async () => {
    setBusy(true);
    setError('');
    try {
      await setStopped(doc, !stopped);
    } catch (problem) {
      setError(problem.message);
    }
    setBusy(false);
  };
  return (
    <article class={`panel program ${told && isFailing(told) && online ? 'failing' : ''}`} aria-labelledby={`program-${id}`}>
      <div class="program-head">
        <h3 id={`program-${id}`}>{doc ? <a href={to.edit(macId, id)}>{name}</a> : name}</h3>
        <StateOf doc={doc} told={told} state={state} online={online} />
        {told?.since && (
          <span class="quiet">
            {online ? 'for ' : 'since '}
            <Ago ms={Date.parse(told.since)} suffix={online ? '' : ' ago'} />
          </span>
        )}
        {told?.restarts > 0 && <span class="quiet number">{told.restarts === 1 ? '1 restart' : `${told.restarts} restarts`}</span>}
      </div>
      <Revisions doc={doc} told={told} online={online} />
      {told?.error && <Traceback macId={macId} programId={id} text={told.error} />}
      <Failures macId={macId} id={id} failures={told?.failures ?? []} shown={told?.error} />
      {error && (
        <p class="bad-text" role="alert">
          {error}
        </p>
      )}
      <div class="buttons">
        {doc && (
          <a class="button small" href={to.edit(macId, id)}>
            Edit<span class="sr-only"> {name}</span>
          </a>
        )}
        <Button kind="small" onClick={() => showLog(id)}>
          Log<span class="sr-only"> of {name}</span>
        </Button>
        {!isLibrary(doc) && (
          <Button kind="small" why={why} onClick={toggle}>
            {stopped ? 'Start' : 'Stop'}
            <span class="sr-only"> {name}</span>
          </Button>
        )}
        <Button kind="small danger" why={why} onClick={() => setDialog('remove')}>
          Remove<span class="sr-only"> {name}</span>
        </Button>
      </div>
      {dialog === 'remove' && (
        <Dialog title={`Remove ${name}?`} verb="Remove" danger act={() => removeProgram(doc)} onClose={() => setDialog('')}>
          <p>The Pi stops it, and its document is deleted. The history keeps every version that was deployed.</p>
        </Dialog>
      )}
    </article>
  );
}

function StateOf({ doc, told, state, online }) {
  if (state === 'stopped') return <State tone="calm">not running</State>;
  if (told) return <ProgramState program={told} current={online} />;
  if (isLibrary(doc)) return <State tone="calm">global modules only</State>;
  if (doc?.stopped) return <State tone="calm">stopped</State>;
  return <State tone="unknown">{online ? 'not taken over yet' : 'not known'}</State>;
}

/** What the Pi has beside what is saved: most often the same, and then it is said once. */
function Revisions({ doc, told, online }) {
  const saved = doc?._rev;
  const [its, verb] = [told?.rev, online ? 'has' : 'had'];
  if (!told || saved === its) {
    return (
      <p class="small quiet">
        revision <Rev rev={saved} />
        {told && ', as saved'}
      </p>
    );
  }
  if (!saved) {
    return (
      <p class="small quiet">
        The Pi {verb} revision <Rev rev={its} />; its document is gone.
      </p>
    );
  }
  return (
    <p class="small differs">
      The Pi {verb} revision <Rev rev={its} />, saved is <Rev rev={saved} />
      {told.state === 'rolled-back' ? ': that one crashed, and the one before runs.' : online ? ': the Pi has not taken it over yet.' : '.'}
    </p>
  );
}

export function Rev({ rev }) {
  const [number, hash] = String(rev).split('-');
  return (
    <span class="mono rev" title={rev}>
      {number}-{(hash ?? '').slice(0, 7)}
    </span>
  );
}

function Failures({ macId, id, failures, shown }) {
  if (!failures.length) return null;
  return (
    <details class="failures">
      <summary>{failures.length === 1 ? 'The last failure' : `The last ${failures.length} failures`}, and what it had printed</summary>
      {failures.toReversed().map((failure) => (
        <div key={failure.time} class="failure">
          <p class="small quiet">
            <Ago ms={Date.parse(failure.time)} />, <Rev rev={failure.rev} />
          </p>
          {failure.log.length > 0 && (
            <pre class="printed" tabIndex={0} aria-label="What it had printed before">
              {failure.log.join('\n')}
            </pre>
          )}
          {failure.error === shown ? <p class="small quiet">and then the traceback above</p> : <Traceback macId={macId} programId={id} text={failure.error} />}
        </div>
      ))}
    </details>
  );
}

function Rejected({ rejected, leftOut }) {
  const others = rejected.filter(({ id }) => !programs.value.has(id));
  if (!others.length) return null;
  return (
    <details class="panel rejected">
      <summary>
        {others.length + leftOut} {others.length + leftOut === 1 ? 'document makes' : 'documents make'} no sense to the Pi
      </summary>
      <ul>
        {others.map(({ id, reason }) => (
          <li key={id}>
            <span class="mono">{id}</span>: {reason}
          </li>
        ))}
      </ul>
      {leftOut > 0 && <p class="quiet">and {leftOut} more</p>}
    </details>
  );
}

/** The editor of one program. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { History } from '../history/history.jsx';
import { to } from '../route.js';
import { canWrite, openPi, titleOf, whyReadOnly } from '../state.js';
import { Boundary } from '../ui/boundary.jsx';
import { Button } from '../ui/marks.jsx';
import { Answer } from './answer.jsx';
import { Code } from './code.jsx';
import { Conflict } from './conflict.jsx';
import { Dialogs } from './dialogs.jsx';
import './editor.css';
import { Notices } from './notices.jsx';
import { Session } from './session.js';

export function Editor({ macId, programId, query }) {
  const session = useMemo(() => new Session(macId, programId), []);
  useEffect(() => session.open(), []);
  useEffect(() => openPi(macId), [macId]);
  const phase = session.phase.value;
  const title = session.work.value?.name ?? programId;
  useEffect(() => {
    document.title = `${session.changed.value ? '• ' : ''}${title} – ${titleOf(macId)} – himbeerecouch`;
  });
  return (
    <main class="editor">
      <nav aria-label="Where this is" class="crumbs">
        <a href={to.fleet()}>Pis</a> <span aria-hidden="true">/</span> <a href={to.pi(macId)}>{titleOf(macId)}</a>
      </nav>
      {phase === 'loading' && (
        <>
          <h1 tabIndex={-1}>{programId}</h1>
          <p class="quiet">One moment …</p>
        </>
      )}
      {phase === 'failed' && <Failed session={session} programId={programId} />}
      {phase === 'ready' && <Open session={session} query={query} />}
    </main>
  );
}

function Failed({ session, programId }) {
  return (
    <>
      <h1 tabIndex={-1}>{programId}</h1>
      <div class="notice bad" role="alert">
        <p>The program could not be read: {session.failure.value.message}</p>
        <Button onClick={() => session.load()}>Try again</Button>
      </div>
    </>
  );
}

function Open({ session, query }) {
  const [view, setView] = useState(query?.has('history') ? 'history' : 'code');
  const [dialog, setDialog] = useState(null);
  const close = () => setDialog(null);
  const conflict = session.conflict.value;
  const save = useSave(session, setDialog);
  useShortcut(save);
  return (
    <>
      <Head session={session} view={view} setView={setView} setDialog={setDialog} save={save} />
      <Notices session={session} />
      <Boundary key={conflict ? 'conflict' : view} what={conflict ? 'The comparison' : view === 'history' ? 'The history' : 'The code'}>
        {conflict ? (
          <Conflict session={session} key={`${conflict.theirs?._rev} ${conflict.baseRev}`} />
        ) : view === 'history' ? (
          <History session={session} onClose={() => setView('code')} />
        ) : (
          <Code session={session} query={query} setDialog={setDialog} />
        )}
      </Boundary>
      {dialog && <Dialogs {...dialog} session={session} onClose={close} />}
    </>
  );
}

/** Nobody waits longer for a check than that. */
const CHECK_MS = 3000;

function late(ms) {
  return new Promise((resolve) => setTimeout(() => resolve([]), ms));
}

/** Saves; asks first where Python says that it will not run. */
function useSave(session, setDialog) {
  const asking = useRef(false);
  return async () => {
    // Pressed twice, it saves once: each revision begins the program anew.
    if (!canWrite.value || session.saving.value || session.conflict.value || asking.current) return;
    if (session.exists.value && !session.changed.value) return;
    // What can't be checked is saved all the same: the Pi will say what it thinks of it.
    asking.current = true;
    const errors = await Promise.race([session.checking.run().catch(() => []), late(CHECK_MS)]);
    asking.current = false;
    if (errors.length) setDialog({ kind: 'errors', errors });
    else await session.save();
  };
}

function useShortcut(save) {
  const latest = useRef(save);
  latest.current = save;
  useEffect(() => {
    const onKeyDown = (event) => {
      if (document.querySelector('dialog[open]')) return;
      if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === 's') {
        event.preventDefault();
        latest.current();
      }
    };
    addEventListener('keydown', onKeyDown);
    return () => removeEventListener('keydown', onKeyDown);
  }, []);
}

function Head({ session, view, setView, setDialog, save }) {
  const { answering } = session;
  const exists = session.exists.value;
  const changed = session.changed.value;
  const busy = session.saving.value;
  const deciding = session.conflict.value ? 'Decide first which of the two versions is to stay.' : '';
  const write = whyReadOnly.value || deciding;
  const nothing = exists && !changed ? 'There is nothing to save: it is as it was saved.' : '';
  const unsaved = !exists ? 'It is not saved yet.' : changed ? 'Save or discard your changes first.' : '';
  return (
    <div class="editor-head">
      <div class="editor-title">
        <h1 tabIndex={-1}>{session.work.value.name}</h1>
        <Answer
          macId={session.macId}
          rev={session.base.value._rev}
          outcome={answering.outcome.value}
          saving={busy}
          justSaved={answering.saved.value.at !== null}
          pi={answering.pi.value}
        />
      </div>
      <div class="editor-buttons">
        <Button kind="main" onClick={save} why={write || nothing} aria-keyshortcuts="Control+S Meta+S">
          {busy ? 'Saving …' : 'Save'}
        </Button>
        <Button onClick={() => setDialog({ kind: 'discard' })} why={write || (changed && exists ? '' : nothing || unsaved)}>
          Discard
        </Button>
        <Button
          onClick={() => setView(view === 'history' ? 'code' : 'history')}
          why={deciding}
          aria-pressed={view === 'history' ? 'true' : 'false'}
        >
          History
        </Button>
        <Button onClick={() => setDialog({ kind: 'copy' })} why={write || unsaved}>
          Copy to …
        </Button>
        <Button onClick={() => setDialog({ kind: 'name' })} why={write}>
          Rename
        </Button>
        <Button kind="danger" onClick={() => setDialog({ kind: 'remove' })} why={write || (exists ? '' : 'It is not saved yet.')}>
          Remove
        </Button>
      </div>
    </div>
  );
}

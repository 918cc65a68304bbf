/** The editor of one program. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { History } from '../history/history.jsx';
import { go, to } from '../route.js';
import { canWrite, now, openPi, titleOf, whyReadOnly } from '../state.js';
import { clockTime } from '../time.js';
import { Button } from '../ui/marks.jsx';
import { Answer } from './answer.jsx';
import { Traceback } from '../ui/traceback.jsx';
import { Area } from './area.jsx';
import { Conflict } from './conflict.jsx';
import { CopyDialog } from './copy.jsx';
import { ConfirmDialog, NameDialog } from './dialogs.jsx';
import { moduleNameError, programNameError, shortRev } from './document.js';
import './editor.css';
import { Options } from './options.jsx';
import { Session } from './session.js';
import { Tabs, words } from './tabs.jsx';
import { linkedPlace } from './traceback.js';

const PANEL = 'editor-code';
const KEYS = 'editor-keys';

export function Editor({ macId, programId, query }) {
  const session = useMemo(() => new Session(macId, programId), []);
  useEffect(() => session.open(), []);
  useEffect(() => {
    openPi(macId);
    return () => openPi(null);
  }, [macId]);
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
      {conflict ? (
        <Conflict session={session} key={`${conflict.theirs?._rev} ${conflict.baseRev}`} />
      ) : view === 'history' ? (
        <History session={session} onClose={() => setView('code')} />
      ) : (
        <Code session={session} query={query} setDialog={setDialog} />
      )}
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
  return async () => {
    if (!canWrite.value || session.saving.value || session.conflict.value) return;
    if (session.exists.value && !session.changed.value) return;
    // What can't be checked is saved all the same: the Pi will say what it thinks of it.
    const errors = await Promise.race([session.checking.run().catch(() => []), late(CHECK_MS)]);
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
          outcome={session.outcome.value}
          saving={busy}
          justSaved={Boolean(session.saved.value?.at)}
          pi={session.pi.value}
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

function Notices({ session }) {
  const { base, outcome, restored, newer, notice, problem, otherDrafts, notKept, changed } = session;
  const failed = outcome.value?.ok === false ? outcome.value : null;
  const conflict = session.conflict.value;
  const other = otherPi(base.value, session.macId);
  return (
    <div class="notices">
      {other && (
        <p class="notice warn">
          <span>
            This program is for another Pi, <a href={to.edit(other, session.programId)}>{titleOf(other)}</a>:{' '}
            {titleOf(session.macId)} does not run it.
          </span>
        </p>
      )}
      {problem.value && (
        <p class="notice bad" role="alert">
          {problem.value}
        </p>
      )}
      {failed && (
        <section class="notice bad" aria-label="Failure">
          {failed.error ? (
            <Traceback text={failed.error} macId={session.macId} programId={session.programId} />
          ) : (
            <p>The Pi does not say why.</p>
          )}
        </section>
      )}
      <div aria-live="polite" class="notices">
        {notice.value && (
          <p class="notice">
            {notice.value}
            <Button kind="plain" onClick={() => (notice.value = null)}>
              Hide
            </Button>
          </p>
        )}
        {restored.value !== null && !conflict && (
          <p class="notice">
            <span>Here is your unsaved work again, from {clockTime(restored.value * 1000, now.value)}. It is not on the Pi.</span>
            <Button onClick={() => session.discard()}>Drop it</Button>
          </p>
        )}
        {newer.value && !conflict && (
          <p class="notice warn">
            <span>
              Somebody else has saved {shortRev(newer.value._rev)} while you were editing {shortRev(base.value._rev)}.
            </span>
            <Button onClick={() => session.showNewer()}>Show both</Button>
          </p>
        )}
        {!conflict &&
          otherDrafts.value.map((draft) => (
            <p class="notice" key={draft.baseRev}>
              <span>
                There is unsaved work of yours from {clockTime(draft.at * 1000, now.value)}, begun from{' '}
                {draft.baseRev ? `revision ${shortRev(draft.baseRev)}` : 'nothing'}.
              </span>
              <span class="notice-buttons">
                <Button
                  onClick={() => session.compareDraft(draft)}
                  why={changed.value ? 'Save or discard your changes first.' : ''}
                >
                  Compare
                </Button>
                <Button onClick={() => session.dropDraft(draft)}>Drop it</Button>
              </span>
            </p>
          ))}
        {notKept.value && <p class="notice warn">{notKept.value} What you change now would not survive a reload: save it.</p>}
      </div>
    </div>
  );
}

/** The Pi that a document is for, where that is not this one; null also for a library, which is for all of them. */
function otherPi({ type }, macId) {
  const other = String(type);
  return /^\d+$/.test(other) && other !== macId ? other : null;
}

function Code({ session, query, setDialog }) {
  const { modules } = session.work.value;
  const module = session.module.value;
  const found = session.checking.found.value;
  const mayWrite = canWrite.value;
  const saved = session.savedWork.value.modules;
  const [place, missing] = usePlace(session, query);
  const counts = ({ id }) => {
    const all = found.get(id) ?? [];
    const warnings = all.filter(({ warning }) => warning).length;
    return { errors: all.length - warnings, warnings };
  };
  const changed = ({ group, name, source }) => saved.find((one) => one.group === group && one.name === name)?.source !== source;
  return (
    <>
      {missing && <p class="notice warn">{missing}</p>}
      <div class="tab-row">
        <Tabs
          modules={modules}
          active={module?.id}
          counts={counts}
          changed={changed}
          panelId={PANEL}
          onSelect={(id) => (session.active.value = id)}
          onRemove={mayWrite && module ? () => setDialog({ kind: 'remove-module', module }) : undefined}
        />
        <div class="tab-buttons">
          <Button kind="small" onClick={() => setDialog({ kind: 'module', group: 'own' })} why={whyReadOnly.value}>
            New module
          </Button>
          <Button kind="small" onClick={() => setDialog({ kind: 'module', group: 'global' })} why={whyReadOnly.value}>
            New global one
          </Button>
          {module && (
            <>
              <Button kind="small" onClick={() => setDialog({ kind: 'rename-module', module })} why={whyReadOnly.value}>
                Rename module
              </Button>
              <Button kind="small" onClick={() => setDialog({ kind: 'remove-module', module })} why={whyReadOnly.value}>
                Remove module
              </Button>
            </>
          )}
        </div>
      </div>
      {module ? (
        <div role="tabpanel" id={PANEL} aria-labelledby={`tab-${module.id}`} class="code-panel">
          <Area
            module={module}
            found={found.get(module.id) ?? NONE}
            mayWrite={mayWrite}
            place={place}
            describedBy={KEYS}
            onChange={(id, source) => session.setSource(id, source)}
          />
        </div>
      ) : (
        <p class="notice">This document has no code: make a module called main, and the Pi runs it.</p>
      )}
      <div class="below-code">
        <p id={KEYS} class="quiet">
          {mayWrite
            ? 'Tab indents; Escape, then Tab leaves the code. Ctrl-S saves, Ctrl-F searches, Ctrl-Space completes.'
            : whyReadOnly.value}
        </p>
        <Checked session={session} />
      </div>
      <Options session={session} mayWrite={mayWrite} />
    </>
  );
}

const NONE = [];

function Checked({ session }) {
  const state = session.checking.state.value;
  const errors = session.checking.errors();
  if (!canWrite.value || !session.module.value) return null;
  return (
    <p class={errors.length ? 'bad-text' : 'quiet'} role="status">
      {state === 'unavailable'
        ? 'Syntax could not be checked.'
        : errors.length
          ? `${words(errors.length, 'syntax error')}: ${errors[0].module.name}, line ${errors[0].line}: ${errors[0].message}`
          : state === 'checked'
            ? 'No syntax errors.'
            : ''}
    </p>
  );
}

/** The place that a link names, as the area wants it, and what to say where it is not there. */
function usePlace(session, query) {
  const text = query?.toString() ?? '';
  const [found, setFound] = useState([null, null]);
  useEffect(() => {
    const linked = linkedPlace(new URLSearchParams(text));
    if (!linked) return setFound([null, null]);
    const module = session.work.peek().modules.find(({ group, name }) => group === linked.group && name === linked.module);
    if (!module) return setFound([null, `There is no module ${linked.module} in what you see here.`]);
    session.active.value = module.id;
    const rev = session.base.peek()._rev;
    const moved = linked.rev && rev && linked.rev !== rev;
    setFound([
      { id: module.id, line: linked.line, key: {} },
      moved
        ? `That line is of revision ${shortRev(linked.rev)}, and what you see began as ${shortRev(rev)}: it may have moved.`
        : null,
    ]);
  }, [text]);
  return found;
}

function Dialogs({ kind, session, onClose, module, group, errors }) {
  const { modules, name } = session.work.value;
  const check = (groupOf, except) => (text) =>
    moduleNameError(
      text,
      groupOf,
      modules.filter(({ id }) => id !== except),
    );
  if (kind === 'module')
    return (
      <NameDialog
        title={group === 'own' ? 'New module' : 'New global module'}
        label="Name"
        action="Add"
        note={
          group === 'own'
            ? 'Other modules of this program import it by this name.'
            : 'All programs of the database can import it, on every Pi.'
        }
        check={check(group)}
        onDone={(text) => session.addModule(group, text)}
        onClose={onClose}
      />
    );
  if (kind === 'rename-module')
    return (
      <NameDialog
        title={`Rename ${module.name}`}
        label="Name"
        value={module.name}
        action="Rename"
        note="What imports it has to be changed as well."
        check={check(module.group, module.id)}
        onDone={(text) => session.renameModule(module.id, text)}
        onClose={onClose}
      />
    );
  if (kind === 'remove-module')
    return (
      <ConfirmDialog
        title={`Remove the module ${module.name}?`}
        action="Remove"
        danger
        onDone={() => session.removeModule(module.id)}
        onClose={onClose}
      >
        <p>Nothing happens on the Pi before you save.</p>
      </ConfirmDialog>
    );
  if (kind === 'name')
    return (
      <NameDialog
        title="Rename the program"
        label="Name"
        value={name}
        action="Rename"
        note="It is saved with the program."
        check={programNameError}
        onDone={(text) => session.setName(text)}
        onClose={onClose}
      />
    );
  if (kind === 'discard')
    return (
      <ConfirmDialog title="Discard your changes?" action="Discard" danger onDone={() => session.discard()} onClose={onClose}>
        <p>What you have changed since it was saved is gone then.</p>
      </ConfirmDialog>
    );
  if (kind === 'remove')
    return (
      <ConfirmDialog
        title={`Remove ${name}?`}
        action="Remove"
        danger
        onDone={() => session.remove().then((gone) => gone && go(to.pi(session.macId)))}
        onClose={onClose}
      >
        <p>
          {titleOf(session.macId)} stops it. The history keeps every version that was deployed
          {session.changed.value ? '; your changes that are not saved are lost' : ''}.
        </p>
      </ConfirmDialog>
    );
  if (kind === 'errors')
    return (
      <ConfirmDialog
        title="Save it with syntax errors?"
        action="Save anyway"
        danger
        onDone={() => session.save()}
        onClose={onClose}
      >
        <p>Python can’t compile this: it would not run.</p>
        <ul class="mono">
          {errors.slice(0, 5).map((error, index) => (
            <li key={index}>
              {error.module.name}, line {error.line}: {error.message}
            </li>
          ))}
        </ul>
      </ConfirmDialog>
    );
  return <CopyDialog session={session} onClose={onClose} />;
}

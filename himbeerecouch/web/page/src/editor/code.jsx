/** The modules of a program: their tabs, the code, what Python says of it, and what the program prints. */

import { useEffect, useState } from 'preact/hooks';
import { Log } from '../pi/log.jsx';
import { canWrite, whyReadOnly } from '../state.js';
import { linkedPlace } from '../traceback.js';
import { Button } from '../ui/marks.jsx';
import { Area } from './area.jsx';
import { shortRev } from './document.js';
import { Options } from './options.jsx';
import { Tabs, words } from './tabs.jsx';

const PANEL = 'editor-code';
const KEYS = 'editor-keys';

export function Code({ session, query, setDialog }) {
  const { modules } = session.work.value;
  const module = session.module.value;
  const found = session.checking.found.value;
  const mayWrite = canWrite.value;
  const saved = session.savedWork.value.modules;
  const [only, setOnly] = useState(session.programId);
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
      {session.exists.value && (
        <Log macId={session.macId} state={session.answering.pi.value.state} only={only} setOnly={setOnly} />
      )}
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

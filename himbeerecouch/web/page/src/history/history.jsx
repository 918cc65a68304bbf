/** Every version of a program that was deployed, what it differs in from the one that is saved, and the way back to it. */

import { useEffect, useState } from 'preact/hooks';
import * as couch from '../couch.js';
import { broughtBack, differences, otherDifferences, shortRev } from '../editor/document.js';
import { canWrite, config, now, titleOf, whyReadOnly } from '../state.js';
import { clockTime } from '../time.js';
import { Dialog } from '../ui/dialog.jsx';
import { Button } from '../ui/marks.jsx';
import { Differences } from './differences.jsx';
import { prefixOf, revisionsIn } from './revisions.js';

/** So many are read at once: each has all of the code. */
const PAGE = 30;

export function History({ session, onClose }) {
  const [{ entries, older }, setFound] = useState({ entries: null, older: [] });
  const [error, setError] = useState(null);
  const [chosen, setChosen] = useState(null);
  const rev = session.base.value._rev;
  const load = async (revisions, before) => {
    try {
      const wanted = revisions ?? revisionsIn(await idsBelow(prefixOf(session.programId)), session.programId);
      const found = await read(session.programId, wanted.slice(0, PAGE));
      const all = [...before, ...found];
      setFound({ entries: all, older: wanted.slice(PAGE) });
      setError(null);
      setChosen(
        (one) => all.find(({ _id }) => _id === one?._id) ?? all.find((one) => one.rev !== rev && one.document) ?? all[0] ?? null,
      );
    } catch (problem) {
      setError(problem);
    }
  };
  useEffect(() => void load(null, []), [rev]);
  return (
    <section class="history" aria-labelledby="history-title">
      <div class="history-head">
        <h2 id="history-title">History</h2>
        <Button onClick={onClose}>Back to the code</Button>
      </div>
      {error && (
        <div class="notice bad" role="alert">
          <p>The history could not be read: {error.message}</p>
          <Button onClick={() => load(null, [])}>Try again</Button>
        </div>
      )}
      {entries?.length === 0 && (
        <p class="notice">
          No version of this program has been kept yet: each one is from now on, as soon as it is saved here or by the tool.
        </p>
      )}
      {entries?.length > 0 && (
        <div class="history-columns">
          <ol class="history-list" aria-label="Versions, the newest first">
            {entries.map((entry) => (
              <li key={entry._id}>
                <Entry entry={entry} rev={rev} chosen={entry === chosen} onChoose={() => setChosen(entry)} />
              </li>
            ))}
            {older.length > 0 && (
              <li>
                <Button kind="plain" onClick={() => load(older, entries)}>
                  {older.length} older
                </Button>
              </li>
            )}
          </ol>
          {chosen && <Version key={chosen._id} session={session} entry={chosen} onDone={onClose} />}
        </div>
      )}
    </section>
  );
}

async function idsBelow(prefix) {
  const { database } = config.value;
  const answer = await couch.ask('GET', couch.pathOf(database, '_all_docs'), {
    query: { startkey: JSON.stringify(prefix), endkey: JSON.stringify(`${prefix}\ufff0`) },
  });
  return answer.rows.map(({ id }) => id);
}

async function read(programId, revisions) {
  const found = await couch.documents(
    config.value.database,
    revisions.map((rev) => prefixOf(programId) + rev),
  );
  return found.filter(({ program }) => program === programId);
}

function Entry({ entry, rev, chosen, onChoose }) {
  return (
    <button type="button" class="history-entry" aria-current={chosen ? 'true' : undefined} onClick={onChoose}>
      <span class="history-when">
        {!entry.by && 'before '}
        {clockTime(Date.parse(entry.at), now.value)}
      </span>
      <span class="quiet">
        <span class="mono">{shortRev(entry.rev)}</span> · {entry.by ?? 'not known by whom'}
      </span>
      {entry.removed && <span class="tag">removed</span>}
      {entry.rev === rev && <span class="tag">saved now</span>}
    </button>
  );
}

function Version({ session, entry, onDone }) {
  const [asked, setAsked] = useState(false);
  const base = session.base.value;
  const current = entry.rev === base._rev;
  const { document } = entry;
  if (!document) return <p class="notice">With this revision the program was removed. The one before it has the code.</p>;
  const before = broughtBack(base, document);
  const now = base._rev ? base : null;
  const none = !differences(now, before).length && !otherDifferences(now, before).length;
  const rollBack = async () => {
    if (!(await session.rollBack(document))) throw new Error(session.problem.value);
    onDone();
  };
  return (
    <div class="history-version">
      <div class="history-head">
        <h3>
          {shortRev(entry.rev)} {current ? 'is what is saved' : now ? `beside what is saved, ${shortRev(base._rev)}` : ''}
        </h3>
        <Button
          kind="main"
          onClick={() => setAsked(true)}
          why={
            whyReadOnly.value ||
            (current ? 'It is the one that is saved.' : none ? 'It says the same as the one that is saved.' : '')
          }
        >
          {now ? 'Roll back to it' : 'Bring it back'}
        </Button>
      </div>
      {none ? (
        <p class="quiet">{current ? 'There is nothing to compare.' : 'Both say the same.'}</p>
      ) : (
        <Differences
          left={before}
          right={now}
          leftLabel={`${shortRev(entry.rev)}, then`}
          rightLabel={now ? `${shortRev(base._rev)}, now` : 'now: removed'}
        />
      )}
      {asked && canWrite.value && (
        <Dialog title={`Roll back to ${shortRev(entry.rev)}?`} verb="Roll back" act={rollBack} onClose={() => setAsked(false)}>
          <p>
            Its content is saved as a new revision, and {titleOf(session.macId)} {base.stopped === true && now ? 'has it, stopped as it is' : 'runs it'}. Nothing is lost: what is saved now stays
            in the history
            {session.changed.value ? ', and your unsaved work in this browser' : ''}.
          </p>
        </Dialog>
      )}
    </div>
  );
}

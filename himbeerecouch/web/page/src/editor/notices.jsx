/** What there is to say about a program, above its code. */

import { to } from '../route.js';
import { now, titleOf } from '../state.js';
import { clockTime } from '../time.js';
import { Button } from '../ui/marks.jsx';
import { Traceback } from '../ui/traceback.jsx';
import { Copies } from './copy.jsx';
import { shortRev } from './document.js';

export function Notices({ session }) {
  const { answering, base, restored, newer, notice, problem, otherDrafts, notKept, changed } = session;
  const failed = answering.outcome.value?.ok === false ? answering.outcome.value : null;
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
      <Copies session={session} />
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

/** What the Pi says of the revision that was saved. */

import { titleOf } from '../state.js';
import { Ago, State } from '../ui/marks.jsx';
import { shortRev } from './document.js';

/** Of each stage: [tone, what is said of it]. */
const STAGES = {
  unknown: ['unknown', 'no connection: what the Pi does with it is unknown'],
  asking: ['busy', 'asking what the Pi does with it'],
  waiting: ['busy', 'waiting for the Pi'],
  slow: ['busy', 'the Pi has not said anything about it yet'],
  starting: ['busy', 'starting'],
  running: ['good', 'running'],
  finished: ['good', 'finished'],
  stopped: ['calm', 'saved, and stopped: the Pi does not run it'],
  library: ['calm', 'saved; it has no main, so there is nothing to run'],
  overtaken: ['calm', 'another revision was saved after it'],
  crashed: ['bad', 'crashed'],
  rejected: ['bad', 'the Pi can’t make sense of it'],
  quarantined: ['bad', 'quarantined: it took the daemon with it'],
  'rolled-back': ['bad', 'crashed again and again: the revision before runs'],
  offline: ['bad', 'the Pi is offline'],
};

/** A line that is also spoken; `outcome` is null while nothing is known. */
export function Answer({ macId, rev, outcome, saving, justSaved, pi }) {
  return (
    <div class="answer">
      <p role="status" class="answer-line">
        {saving ? (
          <State tone="busy">saving</State>
        ) : rev ? (
          <Words {...{ macId, rev, outcome, justSaved, pi }} />
        ) : (
          <State tone="unknown">not saved yet</State>
        )}
      </p>
    </div>
  );
}

function Words({ macId, rev, outcome, justSaved, pi }) {
  const [tone, words] = wordsOf(outcome?.stage ?? 'asking', pi);
  // Where it does not run, that it was saved is part of the words.
  const saved = justSaved && !words.startsWith('saved');
  return (
    <>
      <State tone={tone}>{saved ? `Saved. ${upper(words)}` : upper(words)}</State>
      <span class="quiet">
        <span class="mono" title={rev}>
          {shortRev(rev)}
        </span>{' '}
        on {titleOf(macId)}
        {outcome?.stage === 'offline' && (
          <>
            {pi.seenMs !== null && (
              <>
                , last heard of <Ago ms={pi.seenMs} />
              </>
            )}
            : it runs this once it is back
          </>
        )}
      </span>
    </>
  );
}

function wordsOf(stage, pi) {
  if (stage === 'offline' && pi.state === 'stopped') return ['calm', 'the daemon of the Pi is stopped'];
  if (stage === 'offline' && pi.state === 'never') return ['unknown', 'the Pi has never been heard of'];
  return STAGES[stage];
}

function upper(words) {
  return words[0].toUpperCase() + words.slice(1);
}

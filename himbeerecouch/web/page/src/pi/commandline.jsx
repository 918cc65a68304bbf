import { useRef, useState } from 'preact/hooks';
import { cancelCommand, commands, insertCommand, now, whyReadOnly } from '../state.js';
import { Ago, Button, State } from '../ui/marks.jsx';
import { absence } from '../judge.js';
import { answer } from '../lenient.js';
import { argvOf, outcome, textOf } from './commands.js';

const TIMEOUT_S = 600;

export function CommandLine({ macId, state }) {
  const input = useRef(null);
  const [error, setError] = useState('');
  const [back, setBack] = useState(0);
  const sending = useRef(false);
  const each = [...commands.value.values()].sort((a, b) => (timeOf(a) < timeOf(b) ? 1 : -1));
  const typed = [...new Set(each.filter((doc) => doc.cmd).map(textOf))];
  const why = whyReadOnly.value;
  const run = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const text = form.get('text').trim();
    // Pressed twice, it runs once.
    if (!text || why || sending.current) return;
    sending.current = true;
    setError('');
    try {
      await insertCommand(macId, { cmd: argvOf(text), timeout: Number(form.get('timeout')) || TIMEOUT_S });
      input.current.value = '';
      setBack(0);
    } catch (problem) {
      setError(problem.message);
    }
    sending.current = false;
  };
  const recall = (event) => {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const next = back + step;
    if (!step || next < 0 || next > typed.length) return;
    event.preventDefault();
    setBack(next);
    input.current.value = next ? typed[next - 1] : '';
  };
  const again = (text) => {
    input.current.value = text;
    input.current.focus();
  };
  return (
    <section class="panel commands" aria-labelledby="commands">
      <div class="section-head">
        <h2 id="commands">Commands</h2>
      </div>
      <form class="commandline" onSubmit={run}>
        <label class="sr-only" for="command">
          Command
        </label>
        <input
          id="command"
          name="text"
          class="mono"
          ref={input}
          placeholder="uname -a"
          autocomplete="off"
          autocapitalize="none"
          autocorrect="off"
          spellcheck={false}
          aria-describedby="command-help"
          disabled={Boolean(why)}
          onKeyDown={recall}
          onInput={() => setBack(0)}
        />
        <label class="timeout">
          ends after <input name="timeout" type="number" min="1" max="86400" value={TIMEOUT_S} disabled={Boolean(why)} /> s
        </label>
        <button class="button main" disabled={Boolean(why)}>
          Run
        </button>
      </form>
      <p id="command-help" class="quiet small">
        {why || 'Arrow up brings earlier commands back. It runs as the user of the daemon, in /, with nothing on its standard input.'}
        {!why && state !== 'online' && ` ${absence(state)} What it does not take within a minute is not run.`}
      </p>
      {error && (
        <p class="bad-text" role="alert">
          {error}
        </p>
      )}
      <ol class="results" reversed>
        {each.map((doc) => (
          <Result key={doc._id} doc={doc} state={state} again={again} />
        ))}
      </ol>
    </section>
  );
}

function timeOf(doc) {
  return doc.execution?.started ?? doc.at ?? '';
}

function Result({ doc, state, again }) {
  const [error, setError] = useState('');
  const { tone, words, over } = outcome(doc, now.value, state === 'online' || state === 'unknown');
  const text = textOf(doc);
  const [out, err] = answer(doc);
  const cancel = () => cancelCommand(doc._id).catch((problem) => setError(problem.message));
  return (
    <li>
      <div class="result-head">
        <code class="typed">{text}</code>
        <span role="status">
          <State tone={tone}>{words}</State>
        </span>
        <span class="quiet small">
          {doc.by && `${doc.by}, `}
          <Ago ms={Date.parse(timeOf(doc))} />
        </span>
        {!over && (
          <Button kind="small" why={whyReadOnly.value || (doc.cancel ? 'It is being ended.' : '')} onClick={cancel}>
            Cancel<span class="sr-only"> {text}</span>
          </Button>
        )}
        {over && doc.cmd && !whyReadOnly.value && (
          <Button kind="small" onClick={() => again(text)}>
            Again<span class="sr-only">: {text}</span>
          </Button>
        )}
      </div>
      {error && (
        <p class="bad-text" role="alert">
          {error}
        </p>
      )}
      {out && (
        <pre class="out" tabIndex={0} aria-label={`Standard output of ${text}`}>
          {out}
        </pre>
      )}
      {err && (
        <pre class={out === null ? 'reason' : 'err'} tabIndex={0} aria-label={out === null ? 'Why' : `Standard error of ${text}`}>
          {err}
        </pre>
      )}
      {'ret' in doc && !out && !err && !doc.action && <p class="quiet small">It printed nothing.</p>}
    </li>
  );
}

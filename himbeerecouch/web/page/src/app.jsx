/** The frame around every view: header, what there is to say about the connection, and where one is. */

import { useEffect, useRef } from 'preact/hooks';
import { Fleet } from './fleet/fleet.jsx';
import { lazy } from './lazy.jsx';
import { Login } from './login.jsx';
import { Pi } from './pi/pi.jsx';
import { route, to } from './route.js';
import { askAgain, config, connection, logout, now, session, statusMissing, whyReadOnly } from './state.js';
import { clockTime } from './time.js';
import { Boundary } from './ui/boundary.jsx';
import { Button } from './ui/marks.jsx';

const Editor = lazy(() => import('./editor/index.jsx'), 'Editor');
const NewProgram = lazy(() => import('./editor/index.jsx'), 'NewProgram');

export function App({ error }) {
  return (
    <Boundary what="The page" view>
      <Whole error={error} />
    </Boundary>
  );
}

function Whole({ error }) {
  if (error) return <Failed error={error} />;
  if (!session.value) return <Login />;
  return (
    <>
      <SkipLink />
      <header class="top">
        <a class="brand" href={to.fleet()}>
          himbeerecouch
        </a>
        <span class="quiet mono database">{config.value.database}</span>
        <Connection />
        <Who />
      </header>
      <Banner />
      <View key={session.value.name} />
    </>
  );
}

function Failed({ error }) {
  return (
    <main class="login">
      <div class="panel" role="alert">
        <h1>himbeerecouch</h1>
        <p>{error.message}</p>
        <p class="quiet">The server of this page, or the CouchDB server behind it, does not answer. It is tried again by itself.</p>
        <Button kind="main" onClick={() => location.reload()}>
          Try now
        </Button>
      </div>
    </main>
  );
}

function SkipLink() {
  // Not a link to #main: what stands behind the # is where one is.
  return (
    <button type="button" class="skip" onClick={() => document.querySelector('main h1')?.focus()}>
      Skip to content
    </button>
  );
}

function Who() {
  const { name, roles } = session.value;
  return (
    <div class="who">
      <span title={roles.join(', ') || 'no roles'}>{name}</span>
      {whyReadOnly.value && (
        <span class="tag" title={whyReadOnly.value}>
          read-only
        </span>
      )}
      <Button kind="plain" onClick={logout}>
        Log out
      </Button>
    </div>
  );
}

const CONNECTION = { live: ['good', 'live'], connecting: ['busy', 'connecting'], lost: ['bad', 'no connection'] };

function Connection() {
  const [tone, words] = CONNECTION[connection.value.state];
  return (
    <span class={`connection ${tone}`} style={{ '--tone': `var(--${tone})` }} role="status">
      <span class="lamp" aria-hidden="true" />
      {words}
    </span>
  );
}

function Banner() {
  const { state, sinceMs, problem } = connection.value;
  return (
    <>
      <div aria-live="assertive">
        {state === 'lost' && (
          <div class="banner bad">
            <p>
              <Lost sinceMs={sinceMs} problem={problem} />
            </p>
            <Button onClick={askAgain}>Try now</Button>
          </div>
        )}
      </div>
      {statusMissing.value && (
        <div class="banner warn">
          <p>
            There is no database <span class="mono">{config.value.status_database}</span>: the Pis are heard of every ten minutes only, and there
            are no logs. <span class="mono">himbeerecouch setup</span> makes it.
          </p>
        </div>
      )}
    </>
  );
}

function Lost({ sinceMs, problem }) {
  const { database } = config.value;
  if (problem?.status === 403) {
    return (
      <>
        <strong>{session.value.name} may not read what is here.</strong> An admin can change that: users with the role{' '}
        <span class="mono">himbeerecouch_operator</span> may read and write. The server says: {problem.reason}
      </>
    );
  }
  if (problem?.status === 404) {
    return (
      <>
        <strong>
          There is no database <span class="mono">{database}</span>.
        </strong>{' '}
        <span class="mono">himbeerecouch setup</span> makes it.
      </>
    );
  }
  return (
    <>
      <strong>Connection lost{sinceMs ? ` at ${clockTime(sinceMs, now.value)}` : ''}.</strong> What the Pis are doing has been unknown since
      then. {problem?.message} It is tried again by itself.
    </>
  );
}

/** Puts the focus on what is to be filled in, else on the heading, also where the view is fetched first. Returns what ends it. */
function arrive() {
  const look = () => {
    if (document.activeElement?.closest('main')) return;
    (document.querySelector('main [autofocus]') ?? document.querySelector('main h1'))?.focus({ preventScroll: true });
  };
  document.activeElement?.blur();
  look();
  const observer = new MutationObserver(look);
  observer.observe(document.getElementById('app'), { childList: true, subtree: true });
  // Whoever does something has the focus where they want it.
  const ended = new AbortController();
  const end = () => {
    observer.disconnect();
    ended.abort();
  };
  for (const event of ['keydown', 'pointerdown']) addEventListener(event, end, { signal: ended.signal });
  return end;
}

function View() {
  const { view, macId, programId } = route.value;
  const heading = useRef(false);
  // Whoever follows a link by keyboard or screen reader is at the top of what it leads to.
  useEffect(() => {
    scrollTo(0, 0);
    if (heading.current) return arrive();
    heading.current = true;
  }, [view, macId, programId]);
  return (
    <Boundary key={`${view} ${macId} ${programId}`} what="This view" view>
      <Shown {...route.value} />
    </Boundary>
  );
}

function Shown({ view, macId, programId, query }) {
  if (view === 'fleet') return <Fleet />;
  if (view === 'pi') return <Pi macId={macId} />;
  if (view === 'edit') return <Editor macId={macId} programId={programId} query={query} />;
  if (view === 'new') return <NewProgram macId={macId} query={query} />;
  return (
    <main>
      <h1 tabIndex={-1}>There is nothing here</h1>
      <p>
        <a href={to.fleet()}>To the Pis</a>
      </p>
    </main>
  );
}

import { useEffect } from 'preact/hooks';
import { judge } from '../judge.js';
import { to } from '../route.js';
import { connection, heartbeats, now, openPi, titleOf } from '../state.js';
import { Ago, PiState } from '../ui/marks.jsx';

export function Pi({ macId }) {
  useEffect(() => openPi(macId), [macId]);
  const title = titleOf(macId);
  useEffect(() => {
    document.title = `${title} – himbeerecouch`;
  }, [title]);
  const beat = heartbeats.value.get(macId);
  const judged = judge(beat, now.value, connection.value.state === 'live');
  return (
    <main class="pi">
      <nav class="crumbs" aria-label="Where this is">
        <a href={to.fleet()}>Pis</a>
      </nav>
      <div class="head">
        <h1 tabIndex={-1}>{title}</h1>
        <PiState state={judged.state} />
        <span class="quiet">
          last heard <Ago ms={judged.seenMs} />
        </span>
      </div>
    </main>
  );
}

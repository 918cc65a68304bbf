import { useEffect, useState } from 'preact/hooks';
import { absence, judge } from '../judge.js';
import { to } from '../route.js';
import { connection, heartbeats, insertCommand, names, now, openPi, setName, titleOf, whyReadOnly } from '../state.js';
import { Boundary } from '../ui/boundary.jsx';
import { Dialog } from '../ui/dialog.jsx';
import { Ago, Button, PiState } from '../ui/marks.jsx';
import { CommandLine } from './commandline.jsx';
import { Facts } from './facts.jsx';
import { Log } from './log.jsx';
import { Programs } from './programs.jsx';

export function Pi({ macId }) {
  const [only, setOnly] = useState('');
  useEffect(() => openPi(macId), [macId]);
  const title = titleOf(macId);
  useEffect(() => {
    document.title = `${title} – himbeerecouch`;
  }, [title]);
  const beat = heartbeats.value.get(macId);
  const judged = judge(beat, now.value, connection.value.state === 'live');
  const online = judged.state === 'online';
  const showLog = (id) => {
    setOnly(id);
    const log = document.getElementById('log');
    log?.scrollIntoView({ block: 'start' });
    log?.closest('section').querySelector('[role=log]').focus({ preventScroll: true });
  };
  return (
    <main class="pi">
      <nav class="crumbs" aria-label="Where this is">
        <a href={to.fleet()}>Pis</a>
      </nav>
      <div class="head">
        <h1 tabIndex={-1}>{title}</h1>
        <PiState state={judged.state} />
        {beat && (
          <span class="quiet">
            last heard <Ago ms={judged.seenMs} />
          </span>
        )}
        <Presets macId={macId} title={title} state={judged.state} />
      </div>
      {!beat && judged.state === 'never' && (
        <p class="panel">
          This Pi has never reported. Is its daemon running, does it have a user, and does it know the address of the server? On the Pi,{' '}
          <code>himbeerecouch whoami</code> tells.
        </p>
      )}
      {judged.state === 'stopped' && <p class="notice">The daemon of this Pi was stopped on purpose. What follows is what it told last.</p>}
      {judged.state === 'offline' && (
        <p class="notice bad">
          This Pi is off, or has no network. What follows is what it told last. What is saved now, it takes over when it is back.
        </p>
      )}
      <Boundary what="What the Pi tells of itself">
        <Facts macId={macId} title={title} beat={beat} warnings={judged.warnings} online={online} />
      </Boundary>
      <div class="columns">
        <Boundary what="The list of programs">
          <Programs macId={macId} beat={beat} state={judged.state} online={online} showLog={showLog} />
        </Boundary>
        <div class="column">
          <Boundary what="The log">
            <Log macId={macId} state={judged.state} only={only} setOnly={setOnly} />
          </Boundary>
          <Boundary what="The command line">
            <CommandLine macId={macId} state={judged.state} />
          </Boundary>
        </div>
      </div>
    </main>
  );
}

const PRESETS = {
  restart: {
    verb: 'Restart daemon',
    fields: { action: 'restart' },
    text: 'All of its programs are stopped and begin anew.',
  },
  reboot: {
    verb: 'Reboot',
    fields: { cmd: ['reboot'] },
    text: 'All of its programs are stopped, and the Pi is away for a minute or so. The daemon has to run as root for that.',
  },
  off: {
    verb: 'Power off',
    fields: { cmd: ['poweroff'] },
    text: 'All of its programs are stopped, and somebody has to go there to switch the Pi on again. The daemon has to run as root for that.',
  },
};

function Presets({ macId, title, state }) {
  const [dialog, setDialog] = useState('');
  const [said, setSaid] = useState('');
  const why = whyReadOnly.value;
  const offline = why || absence(state);
  const blink = async () => {
    try {
      await insertCommand(macId, { action: 'identify' });
      setSaid('Its LED blinks for a minute.');
    } catch (problem) {
      setSaid(problem.message);
    }
  };
  const preset = PRESETS[dialog];
  return (
    <div class="presets">
      <Button why={why} onClick={() => setDialog('name')}>
        Rename
      </Button>
      <Button why={offline} onClick={blink}>
        Blink
      </Button>
      {Object.entries(PRESETS).map(([key, { verb }]) => (
        <Button key={key} why={offline} onClick={() => setDialog(key)}>
          {verb}
        </Button>
      ))}
      <span class="quiet small" role="status">
        {said}
      </span>
      {dialog === 'name' && (
        <Dialog title="Rename this Pi" verb="Rename" act={(form) => setName(macId, form.get('name'))} onClose={() => setDialog('')}>
          <label>
            Name
            <input name="name" defaultValue={names.value.get(macId) ?? ''} autocapitalize="none" spellcheck={false} autofocus />
          </label>
          <p class="quiet small">Every command takes it in place of the MacID. With none, the Pi goes by its host name.</p>
        </Dialog>
      )}
      {preset && (
        <Dialog
          title={`${preset.verb}: ${title}?`}
          verb={preset.verb}
          danger
          act={() => insertCommand(macId, preset.fields)}
          onClose={() => setDialog('')}
        >
          <p>{preset.text}</p>
        </Dialog>
      )}
    </div>
  );
}

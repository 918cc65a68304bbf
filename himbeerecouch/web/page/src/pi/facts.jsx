/** What the Pi tells of itself. */

import { Ago, State } from '../ui/marks.jsx';

export function Facts({ macId, title, beat, warnings, online }) {
  const { health = {}, versions = {} } = beat ?? {};
  const facts = [
    ['MacID', <span class="mono">{macId}</span>],
    ['Address', beat?.ip && <span class="mono">{beat.ip}</span>],
    ['Host name', beat?.hostname !== title && beat?.hostname],
    ['Model', versions.model],
    ['System', versions.os],
    ['himbeerecouch', versions.himbeerecouch],
    ['Python', versions.python],
    // Of a Pi that may be gone nobody knows how long it has been up.
    [online ? 'Up' : 'Booted', beat?.boot_time && <Ago ms={Date.parse(beat.boot_time)} suffix={online ? '' : ' ago'} />],
    [online ? 'Daemon up' : 'Daemon began', beat?.started && <Ago ms={Date.parse(beat.started)} suffix={online ? '' : ' ago'} />],
    ['Temperature', number(health.cpu_temperature_c, (celsius) => `${celsius.toFixed(0)} °C`)],
    ['Power', health.under_voltage === false ? 'good' : health.under_voltage ? 'under-voltage' : null],
    ['Load', health.load?.map((each) => each.toFixed(2)).join('  ')],
    ['Memory free', share(health.memory_available_bytes, health.memory_total_bytes)],
    ['Disk free', share(health.disk_free_bytes, health.disk_total_bytes)],
    ['Its clock', offset(beat?.clock_offset_s)],
  ];
  return (
    <section class="facts" aria-label="What the Pi tells of itself">
      {warnings.length > 0 && (
        <p class="warnings">
          {warnings.map((warning) => (
            <State key={warning} tone={online ? 'bad' : 'unknown'}>
              {warning}
            </State>
          ))}
        </p>
      )}
      <dl>
        {facts
          .filter(([, value]) => value !== null && value !== undefined && value !== false && value !== '')
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd class="number">{value}</dd>
            </div>
          ))}
      </dl>
    </section>
  );
}

const number = (value, show) => (typeof value === 'number' ? show(value) : null);

function share(part, whole) {
  if (typeof part !== 'number' || !whole) return null;
  return `${size(part)} of ${size(whole)}`;
}

function size(bytes) {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0)} GB` : `${(bytes / 1e6).toFixed(0)} MB`;
}

function offset(seconds) {
  if (typeof seconds !== 'number' || Math.abs(seconds) < 2) return null;
  return `${Math.abs(seconds).toFixed(0)} s ${seconds > 0 ? 'slow' : 'fast'}`;
}

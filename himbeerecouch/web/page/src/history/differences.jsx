/** What two documents differ in: one module after the other, and the rest as a table. */

import { useState } from 'preact/hooks';
import { differences, otherDifferences } from '../editor/document.js';
import { Comparison } from './comparison.jsx';

/** `onChange({group, name}, source)` makes the right side editable. */
export function Differences({ left, right, leftLabel, rightLabel }) {
  const [modules] = useState(() => differences(left, right));
  const others = otherDifferences(left, right);
  return (
    <div class="differences">
      {right && <Fields fields={others} leftLabel={leftLabel} rightLabel={rightLabel} />}
      {modules.map(({ group, name, one, other }) => (
        <section key={`${group} ${name}`}>
          <h4 class="module-title">
            {group === 'global' && <span class="tab-kind">global</span>}
            <span class="mono">{name}</span>
            <span class="quiet">
              {one === null ? `only in ${rightLabel}` : other === null && right ? `only in ${leftLabel}` : ''}
            </span>
          </h4>
          <Comparison
            left={one ?? ''}
            right={other ?? ''}
            leftLabel={`${name}: ${leftLabel}`}
            rightLabel={`${name}: ${rightLabel}`}
          />
        </section>
      ))}
    </div>
  );
}

/** The name, the options, and whatever else stands in the documents. */
export function Fields({ fields, leftLabel, rightLabel, choose }) {
  if (!fields.length) return null;
  return (
    <table class="fields">
      <thead>
        <tr>
          <th scope="col">Field</th>
          <th scope="col">{leftLabel}</th>
          <th scope="col">{rightLabel}</th>
        </tr>
      </thead>
      <tbody>
        {fields.map(({ key, one, other }) => (
          <tr key={key}>
            <th scope="row" class="mono">
              {key}
            </th>
            {[one, other].map((value, side) => (
              <td key={side}>{choose ? choose(key, side, <Value value={value} />) : <Value value={value} />}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Value({ value }) {
  return value === undefined ? <span class="quiet">not there</span> : <span class="mono">{JSON.stringify(value)}</span>;
}

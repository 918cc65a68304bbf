/** Two sources beside each other, or in one column where the page is narrow, with what differs marked. */

import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { MergeView, unifiedMergeView } from '@codemirror/merge';
import { EditorState } from '@codemirror/state';
import { EditorView, keymap } from '@codemirror/view';
import { useEffect, useRef, useState } from 'preact/hooks';
import { appearance, lineEnds } from '../editor/codemirror.js';

const NARROW = '(max-width: 52rem)';
const COLLAPSE = { margin: 3, minSize: 6 };

/**
 * `left` and `right` are sources; the right one can be edited where `onChange` is given, and chunks of the left one be
 * taken over then. `leftLabel` and `rightLabel` say what they are.
 */
export function Comparison({ left, right, leftLabel, rightLabel, onChange }) {
  const parent = useRef(null);
  const narrow = useNarrow();
  const latest = useRef({ right, onChange });
  latest.current.onChange = onChange;
  useEffect(() => {
    const changed = (source) => {
      latest.current.right = source;
      latest.current.onChange?.(source);
    };
    const make = narrow ? inOneColumn : sideBySide;
    const view = make(parent.current, { left, right: latest.current.right, leftLabel, rightLabel, changed: onChange && changed });
    return () => view.destroy();
  }, [narrow]);
  return (
    <div class="comparison">
      <div class="comparison-labels" aria-hidden="true">
        <span>
          {narrow && '− '}
          {leftLabel}
        </span>
        <span>
          {narrow && '+ '}
          {rightLabel}
        </span>
      </div>
      <div ref={parent} class="code-area" />
    </div>
  );
}

function useNarrow() {
  const [narrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const media = matchMedia(NARROW);
    const listen = () => setNarrow(media.matches);
    media.addEventListener('change', listen);
    return () => media.removeEventListener('change', listen);
  }, []);
  return narrow;
}

function sideBySide(parent, { left, right, leftLabel, rightLabel, changed }) {
  return new MergeView({
    parent,
    a: { doc: left, extensions: [lineEnds(left), ...still(leftLabel)] },
    b: { doc: right, extensions: [lineEnds(right), ...(changed ? edited(rightLabel, changed) : still(rightLabel))] },
    collapseUnchanged: COLLAPSE,
    gutter: true,
    ...(changed && { revertControls: 'a-to-b', renderRevertControl: takeOver }),
  });
}

function inOneColumn(parent, { left, right, leftLabel, rightLabel, changed }) {
  const label = `${leftLabel} and ${rightLabel}`;
  return new EditorView({
    parent,
    doc: right,
    extensions: [
      lineEnds(right),
      ...(changed ? edited(label, changed) : still(label)),
      unifiedMergeView({ original: left, mergeControls: changed ? choice : false, collapseUnchanged: COLLAPSE, gutter: true }),
    ],
  });
}

function still(label) {
  return [appearance(), EditorState.readOnly.of(true), named(label)];
}

function edited(label, changed) {
  return [
    appearance(),
    named(label),
    history(),
    keymap.of([...defaultKeymap, ...historyKeymap, indentWithTab]),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) changed(update.state.sliceDoc());
    }),
  ];
}

function named(label) {
  return EditorView.contentAttributes.of({ 'aria-label': label, spellcheck: 'false' });
}

function takeOver() {
  const button = makeButton('→');
  button.title = 'Take this over';
  button.setAttribute('aria-label', 'Take this over →');
  // CodeMirror waits for the press of a mouse.
  button.onclick = (event) => event.detail === 0 && button.dispatchEvent(new MouseEvent('mousedown', { bubbles: true }));
  return button;
}

/** In one column: to reject what is on the right is to take over what is on the left. */
function choice(type, act) {
  const button = makeButton(type === 'reject' ? 'Take this over' : 'Keep mine');
  button.onmousedown = act;
  // By keyboard and screen reader; the press of a mouse has been taken already.
  button.onclick = (event) => event.detail === 0 && act(event);
  return button;
}

function makeButton(text) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'button small';
  button.textContent = text;
  return button;
}

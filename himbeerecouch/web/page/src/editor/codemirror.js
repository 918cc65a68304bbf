// CodeMirror, as this page uses it: Python, four spaces, the page's colours, marks for errors and for a place jumped to.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { pythonLanguage, globalCompletion, localCompletionSource } from '@codemirror/lang-python';
import {
  HighlightStyle,
  LanguageSupport,
  bracketMatching,
  foldGutter,
  foldKeymap,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from '@codemirror/language';
import { lintGutter, lintKeymap, setDiagnostics } from '@codemirror/lint';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { EditorState, StateEffect, StateField } from '@codemirror/state';
import {
  Decoration,
  EditorView,
  drawSelection,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from '@codemirror/view';
import { tags } from '@lezer/highlight';

/** What the daemon puts into every module, offered where one types. */
const GIVEN = [
  { label: 'log', type: 'function', detail: '(*values)', info: 'Writes a line to the log of the program.' },
  { label: 'should_quit', type: 'function', detail: '()', info: 'True once the program has to quit.' },
  {
    label: 'register_quit_notification',
    type: 'function',
    detail: '(f)',
    info: 'Has f() called when the program has to quit.',
  },
  { label: 'remove_quit_notification', type: 'function', detail: '(f)', info: 'Forgets f again.' },
];

const colours = HighlightStyle.define([
  {
    tag: [tags.keyword, tags.operatorKeyword, tags.controlKeyword, tags.definitionKeyword, tags.moduleKeyword],
    color: 'var(--code-keyword)',
  },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--code-string)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--code-number)' },
  { tag: [tags.comment, tags.docString], color: 'var(--code-comment)', fontStyle: 'italic' },
  {
    tag: [tags.function(tags.definition(tags.variableName)), tags.definition(tags.className)],
    color: 'var(--code-definition)',
    fontWeight: '600',
  },
  { tag: [tags.standard(tags.variableName), tags.self, tags.meta], color: 'var(--code-builtin)' },
]);

const theme = EditorView.theme({
  '&': { color: 'var(--code-text)', backgroundColor: 'var(--code-ground)', fontSize: '0.875rem' },
  // The frame around it shows where the focus is: the gutter would cover an outline in here.
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.5' },
  '.cm-content': { caretColor: 'var(--code-text)', padding: '0.5rem 0' },
  '.cm-cursor, .cm-dropCursor': { borderLeftColor: 'var(--code-text)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'var(--code-selection)',
  },
  '.cm-gutters': { backgroundColor: 'var(--code-ground)', color: 'var(--code-comment)', border: 'none' },
  '.cm-activeLine': { backgroundColor: 'var(--code-line)' },
  '.cm-activeLineGutter': { backgroundColor: 'var(--code-line)', color: 'var(--code-text)' },
  '.cm-selectionMatch': { backgroundColor: 'var(--code-match)' },
  '.cm-matchingBracket, &.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--code-match)', color: 'inherit' },
  '.cm-place': { backgroundColor: 'var(--code-place)', boxShadow: 'inset 3px 0 var(--bad)' },
  '.cm-panels': { backgroundColor: 'var(--code-panel)', color: 'var(--code-text)' },
  '.cm-panels.cm-panels-bottom, .cm-panels.cm-panels-top': { borderColor: 'var(--code-edge)' },
  '.cm-searchMatch': { backgroundColor: 'var(--code-match)' },
  '.cm-tooltip': { backgroundColor: 'var(--code-panel)', color: 'var(--code-text)', border: '1px solid var(--code-edge)' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--focus)', color: 'var(--code-ground)' },
  '&.cm-merge-a .cm-changedLine, .cm-deletedChunk': { backgroundColor: 'var(--code-gone)' },
  '&.cm-merge-b .cm-changedLine': { backgroundColor: 'var(--code-come)' },
  '&.cm-merge-a .cm-changedText, .cm-deletedChunk .cm-deletedText': { background: 'var(--code-gone-words)' },
  '&.cm-merge-b .cm-changedText': { background: 'var(--code-come-words)' },
  '.cm-changedText, .cm-changedText *, .cm-deletedText, .cm-deletedText *': { color: 'var(--code-text)' },
  '&.cm-merge-a .cm-changedLineGutter, .cm-deletedLineGutter': { background: 'var(--bad)' },
  '&.cm-merge-b .cm-changedLineGutter': { background: 'var(--good)' },
  '.cm-merge-revert button, .cm-chunkButtons button': { minHeight: '1.25rem', padding: '0 0.25rem', lineHeight: '1.1' },
  // Above the lines that they are for: on a phone they would cover them.
  '.cm-deletedChunk .cm-chunkButtons': { position: 'static', textAlign: 'end' },
  '.cm-deletedChunk .cm-chunkButtons button': { color: 'var(--text)', border: '1px solid var(--edge)', margin: '2px 4px 2px 0', minHeight: '1.5rem' },
  '.cm-collapsedLines': { background: 'var(--raised)', color: 'var(--quiet)' },
  '.cm-diagnostic': { padding: '0.25rem 0.5rem' },
  '.cm-foldPlaceholder': { backgroundColor: 'transparent', color: 'var(--code-comment)', border: '1px solid var(--code-edge)' },
});

const mark = StateEffect.define();

/** The line that a link led to, until it is edited or another one is jumped to. */
const place = StateField.define({
  create: () => Decoration.none,
  update(marks, transaction) {
    let now = marks.map(transaction.changes);
    if (transaction.docChanged) {
      const before = transaction.startState.doc;
      const touched = (from) => transaction.changes.touchesRange(from, before.lineAt(from).to);
      for (const at = marks.iter(); at.value; at.next()) if (touched(at.from)) now = Decoration.none;
    }
    for (const effect of transaction.effects) {
      if (!effect.is(mark)) continue;
      now =
        effect.value === null ? Decoration.none : Decoration.set([Decoration.line({ class: 'cm-place' }).range(effect.value)]);
    }
    return now;
  },
  provide: (field) => EditorView.decorations.from(field),
});

/** What every piece of code on the page shares, those that can't be edited too. */
export function appearance() {
  const nonce = document.querySelector('meta[name=csp-nonce]')?.content;
  return [
    nonce ? EditorView.cspNonce.of(nonce) : [],
    theme,
    syntaxHighlighting(colours),
    new LanguageSupport(pythonLanguage),
    EditorState.tabSize.of(4),
    indentUnit.of('    '),
    lineNumbers(),
    highlightSpecialChars(),
    EditorView.clipboardInputFilter.of((text) => text.replace(/\r\n?/g, '\n')),
  ];
}

/** A source keeps its line ends, whichever they are: what nobody edited must not look edited. */
export function lineEnds(source) {
  return EditorState.lineSeparator.of(source.includes('\r\n') && !/(^|[^\r])\n/.test(source) ? '\r\n' : '\n');
}

/** Keeps nobody from writing but those who may not. */
export function writable(mayWrite) {
  return mayWrite ? [] : [EditorState.readOnly.of(true)];
}

/**
 * @param {string} source
 * @param {{label: string, describedBy: string, mayWrite: boolean, onChange: (source: string) => void}} settings
 */
export function makeState(source, { label, describedBy, mayWrite, onChange }) {
  return EditorState.create({
    doc: source,
    extensions: [
      lineEnds(source),
      appearance(),
      writable(mayWrite),
      EditorView.contentAttributes.of({ 'aria-label': label, 'aria-describedby': describedBy, spellcheck: 'false' }),
      highlightActiveLineGutter(),
      history(),
      foldGutter(),
      drawSelection(),
      indentOnInput(),
      bracketMatching(),
      closeBrackets(),
      autocompletion(),
      [globalCompletion, localCompletionSource, given].map((autocomplete) => pythonLanguage.data.of({ autocomplete })),
      highlightActiveLine(),
      highlightSelectionMatches(),
      search({ top: true }),
      lintGutter(),
      place,
      keymap.of([
        ...closeBracketsKeymap,
        ...defaultKeymap,
        ...searchKeymap,
        ...historyKeymap,
        ...foldKeymap,
        ...completionKeymap,
        ...lintKeymap,
        indentWithTab,
      ]),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) onChange(update.state.sliceDoc());
      }),
    ],
  });
}

/**
 * Errors of Python as CodeMirror shows them; one whose line is gone meanwhile stands at the end.
 *
 * @param {EditorState} state
 * @param {{line: number | null, column: number | null, message: string, warning?: boolean}[]} errors
 */
export function showErrors(state, errors) {
  const diagnostics = errors.map(({ line, column, message, warning }) => {
    const there = state.doc.line(Math.min(Math.max(1, line ?? 1), state.doc.lines));
    const from = Math.min(there.from + Math.max(0, (column ?? 1) - 1), there.to);
    const word = /^[\p{L}\p{N}_]+/u.exec(state.sliceDoc(from, there.to))?.[0].length ?? 1;
    return { from, to: Math.min(from + word, there.to), severity: warning ? 'warning' : 'error', source: 'Python', message };
  });
  return setDiagnostics(state, diagnostics);
}

/** Jump to the line, and mark it; null takes the mark away. */
export function jump(view, line) {
  if (line === null) return view.dispatch({ effects: mark.of(null) });
  const there = view.state.doc.line(Math.min(Math.max(1, line), view.state.doc.lines));
  view.dispatch({
    selection: { anchor: there.from },
    effects: [mark.of(there.from), EditorView.scrollIntoView(there.from, { y: 'center' })],
  });
  view.focus();
}

function given(context) {
  const word = context.matchBefore(/[A-Za-z_]\w*$/);
  if (!word || (word.from > 0 && context.state.sliceDoc(word.from - 1, word.from) === '.')) return null;
  return { from: word.from, options: GIVEN, validFor: /^\w*$/ };
}

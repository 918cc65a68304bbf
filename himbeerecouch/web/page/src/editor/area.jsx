/** The code of one module at a time; every module keeps its own cursor and its own undo. */

import { EditorView } from '@codemirror/view';
import { useEffect, useRef } from 'preact/hooks';
import { jump, makeState, showErrors } from './codemirror.js';

/**
 * `place` is where a link led to: {module, line, key}, jumped to once for every `key`.
 *
 * @param {{module: object, found: object[], mayWrite: boolean, place: object | null, onChange: Function, onSave: Function}} props
 */
export function Area({ module, found, mayWrite, place, describedBy, onChange }) {
  const parent = useRef(null);
  const view = useRef(null);
  const states = useRef(new Map());
  const shown = useRef(null);
  const latest = useRef(onChange);
  latest.current = onChange;

  // Another module, or another right to write it. The view is made with a state: without one it has no nonce.
  useEffect(() => {
    if (view.current) states.current.set(shown.current, view.current.state);
    const key = `${module.id} ${mayWrite}`;
    if (!states.current.has(key)) {
      states.current.set(
        key,
        makeState(module.source, {
          label: `Code of the module ${module.name}`,
          describedBy,
          mayWrite,
          onChange: (source) => latest.current(module.id, source),
        }),
      );
    }
    const state = states.current.get(key);
    if (view.current) view.current.setState(state);
    else view.current = new EditorView({ parent: parent.current, state });
    shown.current = key;
  }, [module.id, mayWrite]);

  useEffect(() => () => view.current.destroy(), []);

  useEffect(() => {
    view.current.dispatch(showErrors(view.current.state, found));
  }, [found, module.id]);

  useEffect(() => {
    if (place && place.id === module.id) jump(view.current, place.line);
  }, [place?.key, module.id]);

  return <div class="code-area" ref={parent} />;
}

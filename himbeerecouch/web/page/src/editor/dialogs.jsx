/** Questions that are asked before something is done. */

import { useEffect, useId, useRef, useState } from 'preact/hooks';

/** A dialog over the page while it is there; Escape closes it. */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  const id = useId();
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose} class="dialog">
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

/** Asks for a name; `check(name)` says why it can't be that one, or null. */
export function NameDialog({ title, label, value = '', action, check, note, onDone, onClose }) {
  const [name, setName] = useState(value);
  const [error, setError] = useState(null);
  const id = useId();
  const submit = (event) => {
    event.preventDefault();
    const problem = check(name);
    if (problem) return setError(problem);
    onDone(name);
    onClose();
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        <label>
          {label}
          <input
            value={name}
            autofocus
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            aria-describedby={id}
            aria-invalid={error ? 'true' : undefined}
            onInput={(event) => {
              setName(event.target.value);
              setError(null);
            }}
          />
        </label>
        <p id={id} class={error ? 'bad-text' : 'quiet'} role={error ? 'alert' : undefined}>
          {error ?? note}
        </p>
        <Buttons onClose={onClose}>
          <button class="button main">{action}</button>
        </Buttons>
      </form>
    </Dialog>
  );
}

/** Asks whether it is to be done. */
export function ConfirmDialog({ title, action, danger = false, onDone, onClose, children }) {
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      <Buttons onClose={onClose}>
        <button
          type="button"
          class={`button ${danger ? 'danger' : 'main'}`}
          onClick={() => {
            onDone();
            onClose();
          }}
        >
          {action}
        </button>
      </Buttons>
    </Dialog>
  );
}

export function Buttons({ onClose, children }) {
  return (
    <div class="dialog-buttons">
      <button type="button" class="button" onClick={onClose}>
        Cancel
      </button>
      {children}
    </div>
  );
}

import { useEffect, useRef, useState } from 'preact/hooks';
import { Button } from './marks.jsx';

/**
 * A dialog that keeps the rest of the page away while it is there. `act` does what is asked, and may fail: its reason is
 * shown, and the dialog stays. `children` are asked with, or about; a field with `autofocus` has the focus first.
 */
export function Dialog({ title, verb, danger = false, act, onClose, children }) {
  const ref = useRef(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  useEffect(() => ref.current.showModal(), []);
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError('');
    try {
      await act(new FormData(event.target));
      ref.current.close();
    } catch (problem) {
      setError(problem.message);
      setBusy(false);
    }
  };
  return (
    <dialog ref={ref} aria-labelledby="dialog-title" onClose={onClose}>
      <form onSubmit={submit}>
        <h2 id="dialog-title">{title}</h2>
        {children}
        <p class="bad-text" role="alert">
          {error}
        </p>
        <div class="buttons">
          <Button onClick={() => ref.current.close()}>Cancel</Button>
          <button class={`button ${danger ? 'danger' : 'main'}`} disabled={busy}>
            {busy ? 'One moment …' : verb}
          </button>
        </div>
      </form>
    </dialog>
  );
}

/** Keeps the failure of one part of the page from taking the rest with it. */

import { Component } from 'preact';
import { Button } from './marks.jsx';

/**
 * Shows `children`; where they throw, what that was in their place: `what` names them, as the subject of a sentence. A
 * `view` that fails has the heading and the landmark that every view has.
 */
export class Boundary extends Component {
  state = { error: null };

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    console.error(error);
  }

  render({ what, view = false, children }, { error }) {
    if (!error) return children;
    const again = () => this.setState({ error: null });
    return view ? (
      <main>
        <div class="head">
          <h1 tabIndex={-1}>This can’t be shown</h1>
        </div>
        <Failure what={what} error={error} again={again} />
      </main>
    ) : (
      <Failure what={what} error={error} again={again} />
    );
  }
}

function Failure({ what, error, again }) {
  return (
    <div class="notice bad" role="alert">
      <p>
        <strong>{what} can’t be shown: the page itself has a fault.</strong> All else goes on. The browser’s console has more of it:{' '}
        <span class="mono">{String(error?.message ?? error)}</span>
      </p>
      <div class="buttons">
        <Button onClick={again}>Try again</Button>
        <Button onClick={() => location.reload()}>Load the page again</Button>
      </div>
    </div>
  );
}

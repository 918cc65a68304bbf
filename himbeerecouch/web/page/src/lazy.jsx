import { useEffect, useState } from 'preact/hooks';
import { Button } from './ui/marks.jsx';

/** A component whose module is fetched when it is shown first: `const Editor = lazy(() => import(...), 'Editor')`. */
export function lazy(load, name) {
  let loaded = null;
  return function Lazy(props) {
    const [state, setState] = useState({ component: loaded, error: null });
    useEffect(() => {
      if (state.component) return;
      load().then(
        (module) => setState({ component: (loaded = module[name]), error: null }),
        (error) => setState({ component: null, error }),
      );
    }, []);
    if (state.error) {
      return (
        <p class="notice bad" role="alert">
          This part of the page could not be fetched.
          <Button onClick={() => location.reload()}>Load the page again</Button>
        </p>
      );
    }
    const Component = state.component;
    return Component ? <Component {...props} /> : <p class="quiet">One moment …</p>;
  };
}

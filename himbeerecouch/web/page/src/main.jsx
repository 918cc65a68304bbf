import { render } from 'preact';
import { App } from './app.jsx';
import { begin } from './state.js';
import './style.css';

const AGAIN_MS = 5000;

function start() {
  const root = document.getElementById('app');
  begin().then(
    () => render(<App />, root),
    (error) => {
      render(<App error={error} />, root);
      setTimeout(start, AGAIN_MS);
    },
  );
}

start();

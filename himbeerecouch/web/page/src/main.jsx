import { render } from 'preact';
import { App } from './app.jsx';
import { begin } from './state.js';
import './style.css';

begin().then(
  () => render(<App />, document.getElementById('app')),
  (error) => render(<App error={error} />, document.getElementById('app')),
);

import { useState } from 'preact/hooks';
import { config, login } from './state.js';

export function Login() {
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    setBusy(true);
    setError('');
    try {
      await login(form.get('name').trim(), form.get('password'));
    } catch (problem) {
      setError(words(problem));
      setBusy(false);
    }
  };
  return (
    <main class="login" id="main">
      <form class="panel" onSubmit={submit}>
        <h1>himbeerecouch</h1>
        <p class="quiet">
          Log in as a user of the CouchDB server <span class="mono">{config.value?.server}</span>
        </p>
        <label>
          User
          <input name="name" autocomplete="username" autocapitalize="none" spellcheck={false} required autofocus />
        </label>
        <label>
          Password
          <input name="password" type="password" autocomplete="current-password" required />
        </label>
        <p class="bad-text" role="alert">
          {error}
        </p>
        <button class="button main" disabled={busy}>
          {busy ? 'Logging in …' : 'Log in'}
        </button>
      </form>
    </main>
  );
}

function words(problem) {
  if (problem.status === 401) return 'User or password is wrong. After five wrong passwords the server locks the account for five minutes.';
  if (problem.status === 403 && /locked/.test(problem.reason)) return 'The account is locked after wrong passwords. Wait for five minutes.';
  return problem.reason;
}

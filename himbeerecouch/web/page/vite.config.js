import { defineConfig } from 'vite';
import { compressed } from './compressed.js';

// What the page is developed against: `HIMBEERECOUCH_WEB=http://127.0.0.1:8080 npm run dev` has a running
// himbeerecouch-web answer everything that is not a source of the page.
const server = process.env.HIMBEERECOUCH_WEB ?? 'http://127.0.0.1:8080';
const proxied = { target: server, headers: { origin: server } };

export default defineConfig({
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  html: { cspNonce: '__NONCE__' },
  build: {
    outDir: process.env.OUT ?? '../static',
    emptyOutDir: true,
    target: 'es2022',
    // CodeMirror, fetched when somebody edits.
    chunkSizeWarningLimit: 600,
    license: { fileName: 'licenses.txt' },
    modulePreload: { polyfill: false },
  },
  plugins: [compressed()],
  server: { proxy: { '/couch': proxied, '/api': proxied, '/config.json': proxied } },
});

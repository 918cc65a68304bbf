/** Where in the page one is: it stands behind the # of the address, so that every view can be linked to. */

import { computed, signal } from '@preact/signals';

const hash = signal(location.hash);
addEventListener('hashchange', () => {
  hash.value = location.hash;
});

/**
 * {view: 'fleet'}, {view: 'pi', macId}, {view: 'edit', macId, programId}, {view: 'new', macId} or {view: 'nowhere'}, each
 * with the `query` behind a question mark, as URLSearchParams.
 */
export const route = computed(() => parse(hash.value));

export function parse(text) {
  const [path, search = ''] = text.replace(/^#/, '').split(/\?(.*)/s);
  const query = new URLSearchParams(search);
  const parts = path.split('/').slice(1);
  try {
    if (path === '' || path === '/') return { view: 'fleet', query };
    if (parts[0] === 'new' && parts.length === 1) return { view: 'new', macId: query.get('pi'), query };
    if (parts[0] === 'pi' && /^(0|[1-9]\d{0,15})$/.test(parts[1] ?? '')) {
      const macId = parts[1];
      if (parts.length === 2) return { view: 'pi', macId, query };
      if (parts.length === 4 && parts[2] === 'edit') return { view: 'edit', macId, programId: decodeURIComponent(parts[3]), query };
    }
  } catch {
    // Something that can't be decoded leads nowhere.
  }
  return { view: 'nowhere', query };
}

/** Links: `href={to.pi(macId)}`. */
export const to = {
  fleet: () => '#/',
  pi: (macId) => `#/pi/${macId}`,
  edit: (macId, programId, place = {}) => `#/pi/${macId}/edit/${encodeURIComponent(programId)}${search(place)}`,
  create: (macId) => `#/new${search(macId ? { pi: macId } : {})}`,
};

function search(fields) {
  const query = new URLSearchParams(fields).toString();
  return query && `?${query}`;
}

/** Goes there; `replace` leaves no step back to where one was. */
export function go(href, { replace = false } = {}) {
  if (replace) location.replace(href);
  else location.hash = href;
}

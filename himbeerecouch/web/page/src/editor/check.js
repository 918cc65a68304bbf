/** Syntax errors, by Python's own compiler on the server of the page, while one types. */

import { effect, signal } from '@preact/signals';
import { check } from '../state.js';

const AFTER_MS = 400;
const SEPARATOR = ' ';

/** @typedef {{line: number, column: number, message: string, warning?: boolean}} Found */

export class Checking {
  /** Module id -> what Python says about it. */
  found = signal(new Map());
  /** `waiting` for what is typed now, `checked`, or `unavailable`. */
  state = signal('waiting');

  constructor(work) {
    this.work = work;
    /** The modules that `found` is about. */
    this.checked = [];
  }

  /** Checks whatever changes. Returns what ends that. */
  start() {
    return effect(() => {
      const { value: work } = this.work;
      if (!work || sameSources(work.modules, this.checked)) return undefined;
      this.state.value = 'waiting';
      const timer = setTimeout(() => this.run().catch(() => {}), AFTER_MS);
      return () => clearTimeout(timer);
    });
  }

  /** Checks now what is not checked yet, and returns all errors, those without a line at all included. */
  async run() {
    const { modules: now } = this.work.value;
    if (!sameSources(now, this.checked)) {
      this.asking?.abort();
      this.asking = new AbortController();
      const { signal: ended } = this.asking;
      try {
        const modules = Object.fromEntries(now.map(({ id, name, source }) => [`${name}${SEPARATOR}${id}`, source]));
        const errors = await check(modules, { signal: ended });
        if (ended.aborted || !sameSources(now, this.work.value.modules)) return this.errors();
        this.found.value = byModule(errors);
        this.checked = now;
        this.state.value = 'checked';
      } catch (error) {
        if (ended.aborted) return this.errors();
        this.state.value = 'unavailable';
        throw error;
      }
    }
    return this.errors();
  }

  /** The errors without the warnings, each with the `module` that it is in. */
  errors() {
    return this.work.value.modules.flatMap((module) =>
      (this.found.value.get(module.id) ?? []).filter(({ warning }) => !warning).map((error) => ({ ...error, module })),
    );
  }
}

function byModule(errors) {
  const found = new Map();
  for (const error of errors) found.set(idOf(error), [...(found.get(idOf(error)) ?? []), error]);
  return found;
}

function idOf({ module }) {
  return Number(module.slice(module.lastIndexOf(SEPARATOR) + 1));
}

function sameSources(some, others) {
  return (
    some.length === others.length &&
    some.every(({ id, source }, index) => id === others[index].id && source === others[index].source)
  );
}

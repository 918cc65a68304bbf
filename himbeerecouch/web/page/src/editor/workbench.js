/** What is done to a program in the browser: a document as it was saved, and what it is to become. */

import { batch, computed, signal, untracked } from '@preact/signals';
import { newModule, read, sameWork, write } from './document.js';

export class Workbench {
  /** The document as it is in the database, as far as is known here; without `_rev` where it is not there. */
  base = signal(null);
  /** What it is to become. Replaced, never changed. */
  work = signal(null);
  /** Id of the module that is shown. */
  active = signal(null);
  exists = computed(() => Boolean(this.base.value?._rev));
  document = computed(() => this.work.value && write(this.work.value, this.base.value));
  savedWork = computed(() => this.base.value && read(this.base.value));
  changed = computed(() => Boolean(this.work.value) && !sameWork(this.work.value, this.savedWork.value));
  module = computed(() => this.work.value?.modules.find(({ id }) => id === this.active.value));

  /** Takes up another document; `work` says what it is to become. The module that is shown stays, where it is there. */
  lay(base, work) {
    const like = untracked(() => this.module.value);
    this.base.value = base;
    this.work.value = read({ ...work, _id: base._id });
    const { modules } = this.work.value;
    const found = modules.find(({ group, name }) => group === like?.group && name === like?.name) ?? modules[0];
    this.active.value = found?.id ?? null;
  }

  setSource(id, source) {
    this.#change({ modules: this.work.value.modules.map((one) => (one.id === id ? { ...one, source } : one)) });
  }

  addModule(group, name) {
    const module = newModule(group, name, group === 'own' && name === 'main' ? 'def main():\n    pass\n' : '');
    batch(() => {
      this.#change({ modules: [...this.work.value.modules, module] });
      this.active.value = module.id;
    });
  }

  renameModule(id, name) {
    this.#change({ modules: this.work.value.modules.map((one) => (one.id === id ? { ...one, name } : one)) });
  }

  removeModule(id) {
    const { modules } = this.work.value;
    const index = modules.findIndex((one) => one.id === id);
    const left = modules.filter((one) => one.id !== id);
    batch(() => {
      this.#change({ modules: left });
      if (this.active.value === id) this.active.value = left[Math.min(index, left.length - 1)]?.id ?? null;
    });
  }

  setName(name) {
    this.#change({ name });
  }

  setOption(key, value) {
    this.#change({ options: { ...this.work.value.options, [key]: value } });
  }

  #change(fields) {
    this.work.value = { ...this.work.value, ...fields };
  }
}

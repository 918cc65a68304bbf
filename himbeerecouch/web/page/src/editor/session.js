/** One program while somebody edits it: what was saved, what it is to become, and what the Pi says of it. */

import { batch, computed, effect, signal, untracked } from '@preact/signals';
import * as couch from '../couch.js';
import { Conflict, generation } from '../couch.js';
import { judge } from '../judge.js';
import * as state from '../state.js';
import { Checking } from './check.js';
import { newDocument, newModule, read, runs, same, sameWork, write } from './document.js';
import { Drafts } from './drafts.js';
import { isSeenRunning, outcome } from './outcome.js';

const DRAFT_AFTER_MS = 400;

export class Session {
  /** `loading`, `ready` or `failed`. */
  phase = signal('loading');
  failure = signal(null);
  /** The document as it is in the database, as far as is known here; without `_rev` where it is not there. */
  base = signal(null);
  /** What it is to become. Replaced, never changed. */
  work = signal(null);
  /** Id of the module that is shown. */
  active = signal(null);
  saving = signal(false);
  /** Why the last attempt to save came to nothing. */
  problem = signal(null);
  /** {theirs, baseRev}: the document that is there now, and the revision that `work` was begun from. */
  conflict = signal(null);
  /** The document that somebody else saved while there is unsaved work here. */
  newer = signal(null);
  /** What happened without the user, in words. */
  notice = signal(null);
  /** When the unsaved work was written that was restored, in seconds; null for none. */
  restored = signal(null);
  /** Unsaved work that was begun from other revisions. */
  otherDrafts = signal([]);
  /** Why unsaved work is not kept in the browser. */
  notKept = signal(null);
  /** Of copies to other Pis: MacID -> what became of it; null where there are none. */
  copies = signal(null);
  /** The revision that was saved here last, and when, in seconds of the server's time. */
  saved = signal(null);
  #followed = false;
  /** When the page first saw that the revision runs. */
  #seen = signal(null);

  constructor(macId, programId) {
    this.macId = macId;
    this.programId = programId;
    this.drafts = new Drafts(browserStorage(), `${state.config.value.database} ${state.session.value.name}`);
    this.checking = new Checking(this.work);
    this.exists = computed(() => Boolean(this.base.value?._rev));
    this.document = computed(() => this.work.value && write(this.work.value, this.base.value));
    this.savedWork = computed(() => this.base.value && read(this.base.value));
    this.changed = computed(() => Boolean(this.work.value) && !sameWork(this.work.value, this.savedWork.value));
    this.module = computed(() => this.work.value?.modules.find(({ id }) => id === this.active.value));
    this.heartbeat = computed(() => state.heartbeats.value.get(macId));
    this.pi = computed(() => judge(this.heartbeat.value, state.now.value, state.connection.value.state === 'live'));
    this.outcome = computed(() => this.#outcome());
  }

  /** Reads the program, and follows it. Returns what ends that. */
  open() {
    const ends = [
      effect(() => this.#look()),
      effect(() => this.#follow(state.programs.value.get(this.programId))),
      effect(() => this.#draftLater()),
      this.checking.start(),
    ];
    const leave = (event) => {
      this.keepDraft();
      if (event.type === 'beforeunload' && this.changed.value) event.preventDefault();
    };
    const leavings = ['beforeunload', 'pagehide', 'visibilitychange'];
    for (const name of leavings) addEventListener(name, leave);
    this.load();
    return () => {
      this.keepDraft();
      for (const name of leavings) removeEventListener(name, leave);
      for (const end of ends) end();
    };
  }

  async load() {
    this.phase.value = 'loading';
    try {
      const there = await couch.find(state.config.value.database, this.programId);
      const drafts = this.drafts.of(this.programId);
      const ours = drafts.find(({ baseRev }) => baseRev === (there?._rev ?? null));
      batch(() => {
        this.#show(there ?? newDocument(this.programId, Number(this.macId)), ours?.document);
        this.restored.value = ours && this.changed.value ? ours.at : null;
        this.otherDrafts.value = drafts.filter((draft) => draft !== ours);
        this.phase.value = 'ready';
      });
    } catch (error) {
      batch(() => {
        this.failure.value = error;
        this.phase.value = 'failed';
      });
    }
  }

  #show(base, work = base) {
    const before = untracked(() => this.module.value);
    this.base.value = base;
    this.work.value = read({ ...work, _id: base._id });
    this.#activate(before);
    this.newer.value = null;
    this.problem.value = null;
    this.saved.value = { rev: base._rev, at: null };
    this.#seen.value = null;
  }

  /** Shows the module that is named so, else the first one. */
  #activate(like) {
    const { modules } = this.work.value;
    const found = modules.find(({ group, name }) => group === like?.group && name === like?.name) ?? modules[0];
    this.active.value = found?.id ?? null;
  }

  // --- editing ---------------------------------------------------------------------------------------------------------

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

  /** Back to what was saved. */
  discard() {
    batch(() => {
      this.drafts.drop(this.programId, this.base.value._rev ?? null);
      this.#show(this.base.value);
      this.restored.value = null;
    });
  }

  // --- unsaved work ----------------------------------------------------------------------------------------------------

  #draftLater() {
    if (!this.work.value || !this.base.value) return undefined;
    const timer = setTimeout(() => this.keepDraft(), DRAFT_AFTER_MS);
    return () => clearTimeout(timer);
  }

  keepDraft() {
    if (this.phase.value !== 'ready') return;
    const baseRev = this.base.value._rev ?? null;
    if (!this.changed.value) {
      this.drafts.drop(this.programId, baseRev);
      this.notKept.value = null;
    } else {
      this.notKept.value = this.drafts.keep(this.programId, baseRev, this.document.value, (state.now.value ?? Date.now()) / 1000);
    }
  }

  dropDraft({ baseRev }) {
    this.drafts.drop(this.programId, baseRev);
    this.otherDrafts.value = this.otherDrafts.value.filter((draft) => draft.baseRev !== baseRev);
  }

  /** Work that was begun from another revision, beside what is saved now. */
  compareDraft(draft) {
    batch(() => {
      this.conflict.value = {
        theirs: this.base.value._rev ? this.base.value : null,
        baseRev: draft.baseRev,
        mine: draft.document,
      };
    });
  }

  // --- saving ----------------------------------------------------------------------------------------------------------

  /** Saves the work; what stands in its way is in `conflict` or `problem` then. Returns whether it was saved. */
  save() {
    return this.#put(this.document.value);
  }

  /** Saves an old revision's content, as a new revision. */
  async rollBack(content) {
    const { _id, _rev } = this.base.value;
    this.keepDraft();
    const unsaved = this.changed.value;
    const document = { ...content, _id, ...(_rev && { _rev }) };
    if (!(await this.#put(document, document))) return false;
    batch(() => {
      this.#show(this.base.value);
      this.saved.value = { rev: this.base.value._rev, at: seconds() };
      if (unsaved) this.otherDrafts.value = this.drafts.of(this.programId);
    });
    return true;
  }

  async #put(document, rolledBack = null) {
    if (this.saving.value) return false;
    batch(() => {
      this.saving.value = true;
      this.problem.value = null;
      this.notice.value = null;
    });
    try {
      this.#saved(await state.saveProgram(document), rolledBack);
      return true;
    } catch (error) {
      if (!(error instanceof Conflict)) this.problem.value = wordsOf(error);
      // An answer that was lost on its way: it is there already.
      else if (error.theirs && same(error.theirs, document)) {
        this.#saved(error.theirs, rolledBack);
        return true;
      } else if (rolledBack) this.problem.value = 'Somebody else has saved another revision meanwhile. Look at that one first.';
      else this.conflict.value = { theirs: error.theirs, baseRev: document._rev ?? null, mine: document };
      return false;
    } finally {
      this.saving.value = false;
    }
  }

  #saved(document, rolledBack) {
    batch(() => {
      if (!rolledBack) this.drafts.drop(this.programId, this.base.value._rev ?? null);
      // What was typed meanwhile stays, as unsaved work on the new revision.
      this.base.value = document;
      this.restored.value = null;
      this.newer.value = null;
      this.saved.value = { rev: document._rev, at: seconds() };
      this.#seen.value = null;
    });
  }

  /** Removes the program from the database, and what is unsaved of it. Returns whether it is gone. */
  async remove() {
    this.problem.value = null;
    this.saving.value = true;
    try {
      await state.removeProgram(this.base.value);
      this.drafts.drop(this.programId, this.base.value._rev);
      this.phase.value = 'removed';
      return true;
    } catch (error) {
      this.problem.value =
        error instanceof Conflict
          ? 'Not removed: somebody else has saved it meanwhile. Look at that first.'
          : `Not removed: ${error.message}`;
      return false;
    } finally {
      this.saving.value = false;
    }
  }

  // --- others' revisions -----------------------------------------------------------------------------------------------

  /** Saves `mine`, as it stands after a look at both, over the revision that is there now. */
  async keepMine(mine) {
    const { theirs, baseRev } = this.conflict.value;
    const { _rev, ...content } = mine;
    const document = theirs ? { ...content, _rev: theirs._rev } : content;
    this.#leaveConflict({ ...document }, theirs);
    if (await this.#put(document)) {
      this.drafts.drop(this.programId, baseRev);
      this.otherDrafts.value = this.drafts.of(this.programId);
    }
  }

  #leaveConflict(mine, theirs) {
    const { _rev, ...gone } = this.base.value;
    batch(() => {
      this.#show(theirs ?? gone, mine);
      this.conflict.value = null;
    });
  }

  /** Goes on with what is there now; the work stays in the browser, as a draft of the revision that it was begun from. */
  takeTheirs() {
    const { theirs, baseRev, mine } = this.conflict.value;
    this.notKept.value = this.drafts.keep(this.programId, baseRev, mine, seconds());
    if (this.notKept.value) return;
    this.#leaveConflict(theirs ?? this.base.value, theirs);
    this.restored.value = null;
    this.otherDrafts.value = this.drafts.of(this.programId);
  }

  /** Back to the editor, with nothing decided. */
  postpone() {
    this.conflict.value = null;
  }

  /** Somebody else has saved or removed it. */
  #follow(doc) {
    if (this.phase.value !== 'ready') return;
    if (!doc) {
      if (this.#followed) this.#missed();
      this.#followed = false;
      return;
    }
    this.#followed = true;
    untracked(() => {
      const base = this.base.value;
      if (this.saving.value || generation(doc._rev) < generation(base._rev) || doc._rev === base._rev) return;
      if (this.changed.value) this.newer.value = doc;
      else
        batch(() => {
          this.#show(doc);
          this.notice.value = 'Somebody has saved another revision: this is it.';
        });
    });
  }

  /** It is no longer among the Pi's programs: removed, or handed to another Pi; or the Pi's programs are read anew. */
  async #missed() {
    const there = await couch.find(state.config.value.database, this.programId).catch(() => undefined);
    const base = this.base.value;
    if (there === undefined || this.saving.value || !base._rev) return;
    if (there) return this.#follow(there);
    const { _rev, ...content } = base;
    batch(() => {
      this.base.value = content;
      this.newer.value = null;
      this.saved.value = null;
      this.notice.value = 'This program was removed. Saving brings it back; the history has what it was.';
    });
  }

  showNewer() {
    this.conflict.value = { theirs: this.newer.value, baseRev: this.base.value._rev ?? null, mine: this.document.value };
  }

  // --- what the Pi says ------------------------------------------------------------------------------------------------

  #look() {
    const runsNow =
      this.saved.value?.rev && isSeenRunning({ id: this.programId, rev: this.saved.value.rev }, this.heartbeat.value);
    untracked(() => {
      if (runsNow && this.#seen.value === null) this.#seen.value = seconds();
      if (!runsNow) this.#seen.value = null;
    });
  }

  /** What the Pi says of the revision that was saved last; null while that can't be known. */
  #outcome() {
    const { value: saved } = this.saved;
    const { value: nowMs } = state.now;
    if (!saved?.rev || nowMs === null) return null;
    if (this.pi.value.state === 'unknown') {
      return { stage: state.connection.value.state === 'connecting' ? 'asking' : 'unknown', done: false, ok: null };
    }
    const what = { id: this.programId, rev: saved.rev, runs: runs(this.base.value), savedAt: saved.at ?? 0 };
    const offline = this.pi.value.state !== 'online';
    return outcome(what, this.heartbeat.value, { now: nowMs / 1000, offline, seen: this.#seen.value });
  }
}

/** null where the browser keeps nothing for this site. */
function browserStorage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

function seconds() {
  return (state.now.value ?? Date.now()) / 1000;
}

function wordsOf(error) {
  if (error.status === 403) return `Not saved: the database does not let you write it (${error.reason}).`;
  if (error.status === 401) return 'Not saved: you are not logged in any more. Your work stays in this browser.';
  if (error.status === 413) return 'Not saved: it is too large for the server.';
  if (error.status === 0) return `It is not known whether it was saved: ${error.reason} Save again, that does no harm.`;
  return `Not saved: ${error.reason ?? error.message}`;
}

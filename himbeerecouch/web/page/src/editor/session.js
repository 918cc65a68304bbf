/** One program while somebody edits it: read, kept, saved, and brought together with what others save. */

import { batch, effect, signal, untracked } from '@preact/signals';
import * as couch from '../couch.js';
import { Conflict, generation } from '../couch.js';
import * as state from '../state.js';
import { Answering, seconds } from './answering.js';
import { Checking } from './check.js';
import { broughtBack, newDocument, same } from './document.js';
import { Drafts } from './drafts.js';
import { Workbench } from './workbench.js';

const DRAFT_AFTER_MS = 400;

export class Session extends Workbench {
  /** `loading`, `ready` or `failed`. */
  phase = signal('loading');
  failure = signal(null);
  saving = signal(false);
  /** Why the last attempt to save came to nothing. */
  problem = signal(null);
  /** {theirs, baseRev, mine}: the document that is there now, the revision that our work was begun from, and our work. */
  conflict = signal(null);
  /** What has become of `mine` while the two were compared; null where it is as it was. */
  merged = signal(null);
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
  #followed = false;
  /** The base revisions of the drafts that are this session's: another tab may edit the same program. */
  #kept = new Set();

  constructor(macId, programId) {
    super();
    this.macId = macId;
    this.programId = programId;
    this.drafts = new Drafts(browserStorage(), `${state.config.value.database} ${state.session.value.name}`);
    this.checking = new Checking(this.work);
    this.answering = new Answering(macId, programId, this.base);
  }

  /** Reads the program, and follows it. Returns what ends that. */
  open() {
    const ends = [
      this.answering.start(),
      effect(() => this.#follow(state.programs.value.get(this.programId))),
      effect(() => this.#draftLater()),
      this.checking.start(),
    ];
    const leave = (event) => {
      this.keepDraft();
      if (event.type === 'beforeunload' && (this.changed.value || this.merged.value)) event.preventDefault();
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
        if (ours) this.#kept.add(ours.baseRev);
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
    this.lay(base, work);
    this.newer.value = null;
    this.problem.value = null;
    this.answering.about(base._rev);
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
    this.merged.value;
    const timer = setTimeout(() => this.keepDraft(), DRAFT_AFTER_MS);
    return () => clearTimeout(timer);
  }

  keepDraft() {
    if (this.phase.value !== 'ready') return;
    const baseRev = this.base.value._rev ?? null;
    const unsaved = new Map(this.changed.value ? [[baseRev, this.document.value]] : []);
    // What it became beside another version takes the place of what it was.
    if (this.merged.value) unsaved.set(this.conflict.value.baseRev, this.merged.value);
    if (unsaved.has(baseRev)) this.#kept.add(baseRev);
    else this.#drop(baseRev);
    const problems = [...unsaved].map(([rev, document]) => this.drafts.keep(this.programId, rev, document, seconds()));
    this.notKept.value = problems.find(Boolean) ?? null;
  }

  #drop(baseRev) {
    if (this.#kept.delete(baseRev)) this.drafts.drop(this.programId, baseRev);
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
    this.keepDraft();
    const unsaved = this.changed.value;
    if (unsaved && this.notKept.value) {
      this.problem.value = `${this.notKept.value} Save or discard your changes first: they would be lost.`;
      return false;
    }
    const document = broughtBack(this.base.value, content);
    if (!(await this.#put(document, document))) return false;
    batch(() => {
      this.#show(this.base.value);
      this.answering.about(this.base.value._rev, seconds());
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
      if (!rolledBack) this.#drop(this.base.value._rev ?? null);
      // What was typed meanwhile stays, as unsaved work on the new revision.
      this.base.value = document;
      this.restored.value = null;
      this.newer.value = null;
      this.answering.about(document._rev, seconds());
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
      this.#closeConflict();
    });
  }

  #closeConflict() {
    this.conflict.value = null;
    this.merged.value = null;
  }

  /** Goes on with what is there now; ours stays in the browser, as a draft of the revision that it was begun from. */
  takeTheirs() {
    const { theirs, baseRev, mine } = this.conflict.value;
    this.notKept.value = this.drafts.keep(this.programId, baseRev, this.merged.value ?? mine, seconds());
    if (this.notKept.value) return;
    this.#leaveConflict(theirs ?? this.base.value, theirs);
    this.restored.value = null;
    this.otherDrafts.value = this.drafts.of(this.programId);
  }

  /** Back to the editor, with nothing decided; what was made of ours by then is what ours is. */
  postpone() {
    const [baseRev, merged] = [this.base.value._rev ?? null, this.merged.value];
    const isWork = this.conflict.value.baseRev === baseRev;
    if (merged && !isWork) {
      this.keepDraft();
      if (this.notKept.value) return;
    }
    batch(() => {
      if (merged && isWork) this.lay(this.base.value, merged);
      else if (merged) this.otherDrafts.value = this.drafts.of(this.programId).filter((draft) => draft.baseRev !== baseRev);
      this.#closeConflict();
    });
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
      this.answering.about(undefined);
      this.notice.value = 'This program was removed. Saving brings it back; the history has what it was.';
    });
  }

  showNewer() {
    this.conflict.value = { theirs: this.newer.value, baseRev: this.base.value._rev ?? null, mine: this.document.value };
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

function wordsOf(error) {
  if (error.status === 403) return `Not saved: the database does not let you write it (${error.reason}).`;
  if (error.status === 401) return 'Not saved: you are not logged in any more. Your work stays in this browser.';
  if (error.status === 413) return 'Not saved: it is too large for the server.';
  if (error.status === 0) return `It is not known whether it was saved: ${error.reason} Save again, that does no harm.`;
  return `Not saved: ${error.reason ?? error.message}`;
}

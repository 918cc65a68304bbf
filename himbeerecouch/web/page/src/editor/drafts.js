// Unsaved work, kept in the browser: one draft for each program and the revision that it was begun from.

const PREFIX = 'himbeerecouch draft ';
/** Browsers give about five million characters to a site; the rest is left to the page. */
export const LIMIT_CHARS = 3_000_000;

/** @typedef {{baseRev: string | null, at: number, document: object}} Draft */

export class Drafts {
  /**
   * @param {Storage | null} storage
   * @param {string} owner whose they are: people share a browser
   */
  constructor(storage, owner, limitChars = LIMIT_CHARS) {
    this.storage = storage;
    this.owner = owner;
    this.limitChars = limitChars;
  }

  /**
   * Keep it, in place of the one with the same base.
   *
   * @param {number} at Unix time
   * @returns {string | null} why it could not be kept
   */
  keep(id, baseRev, document, at) {
    const key = this.#key(id, baseRev);
    const value = JSON.stringify({ at, document });
    let chars = key.length + value.length;
    try {
      for (const other of this.#keys()) if (other !== key) chars += other.length + this.storage.getItem(other).length;
      if (chars > this.limitChars) return 'This browser holds too much unsaved work already.';
      this.storage.setItem(key, value);
      return null;
    } catch (error) {
      return error.name === 'QuotaExceededError' ? 'This browser has no room left.' : 'This browser keeps nothing for this site.';
    }
  }

  /** @returns {Draft[]} all drafts of the program, the newest first */
  of(id) {
    const found = [];
    try {
      for (const key of this.#keys()) {
        const draft = this.#read(key, id);
        if (draft) found.push(draft);
      }
    } catch {
      return []; // a browser that keeps nothing has none
    }
    return found.sort((one, other) => other.at - one.at);
  }

  drop(id, baseRev) {
    try {
      this.storage.removeItem(this.#key(id, baseRev));
    } catch {
      // Then there is none.
    }
  }

  #key(id, baseRev) {
    return PREFIX + JSON.stringify([this.owner, id, baseRev]);
  }

  #keys() {
    return Array.from({ length: this.storage.length }, (_, index) => this.storage.key(index)).filter((key) =>
      key?.startsWith(PREFIX),
    );
  }

  #read(key, id) {
    try {
      const [owner, programId, baseRev] = JSON.parse(key.slice(PREFIX.length));
      if (owner !== this.owner || programId !== id) return null;
      const { at, document } = JSON.parse(this.storage.getItem(key));
      return document !== null && typeof document === 'object' && typeof at === 'number' ? { baseRev, at, document } : null;
    } catch {
      return null; // not ours, or of another version
    }
  }
}

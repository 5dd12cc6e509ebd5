/**
 * A text with all its versions, as a tree of changes.
 *
 * A version replaces `removed` with `inserted` at `at` in its parent. Undo goes to the parent and
 * redo to the child visited last, so nothing is ever lost: what was undone remains as a branch.
 * Knows nothing about the page.
 *
 *     const versions = new Versions();
 *     versions.edit(0, 0, "ROMEO:");
 *     versions.begin("generation", 6, 0);
 *     versions.append("\nI dreamt");
 *     versions.undo();
 */

import { replaced, take } from "./spans.js";

const TYPING_PAUSE_MS = 1000;
const MAX_UNDO_STEPS = 400;
const MAX_VERSIONS = 2000;

/**
 * @typedef {object} Version
 * @property {number} id
 * @property {number|null} parent
 * @property {"start"|"edit"|"suggestion"|"generation"} kind
 * @property {number} at
 * @property {string} removed
 * @property {string} inserted
 * @property {import("./spans.js").Spans} removedSpans what the model had written of `removed`
 * @property {string} [given] the start of `inserted` that the writer chose
 * @property {number|null} next the child visited last
 */

export class Versions extends EventTarget {
  #versions = new Map();
  #editedAt = -Infinity;

  constructor(saved = {}) {
    super();
    this.load(saved);
  }

  /** Replaces everything with a draft, as `toJSON` returned it; its text alone suffices. */
  load({ text = "", caret = text.length, spans = [], versions = [], current = 0 }) {
    this.text = clean(text);
    this.caret = caret;
    this.spans = spans;
    this.#versions = new Map(versions.map((version) => [version.id, version]));
    if (!this.#versions.has(current)) {
      this.#versions = new Map([[0, start(0)]]);
      current = 0;
    }
    this.current = this.#versions.get(current);
    this.#editedAt = -Infinity;
    this.#changed("load");
  }

  toJSON() {
    const { text, caret, spans, current } = this;
    return { text, caret, spans, versions: [...this.#versions.values()], current: current.id };
  }

  /** Replaces text[at, at + length) by the writer's own text. */
  edit(at, length, inserted, now = Date.now()) {
    if (!this.#extend(at, length, inserted, now)) this.#add("edit", at, length, inserted, []);
    this.#editedAt = inserted.includes("\n") ? -Infinity : now;
    this.#changed("edit");
  }

  /** Inserts text of the model that the writer accepted. */
  suggest(at, suggestion) {
    const inserted = clean(suggestion);
    this.#add("suggestion", at, 0, inserted, [[0, inserted.length]]);
    this.#changed("suggestion");
  }

  /** Starts a generation that replaces text[at, at + length); `append` adds to it. */
  begin(at, length, given = "") {
    const version = this.#add("generation", at, length, given, []);
    version.given = given;
    this.#changed("generation");
    return version;
  }

  /** Adds text to the current generation. */
  append(text) {
    const inserted = clean(text);
    const end = this.#end();
    const isFollowed = this.caret >= end;
    const caret = this.caret;
    this.#replace(end, 0, inserted, [[0, inserted.length]]);
    this.caret = isFollowed ? caret + inserted.length : caret;
    this.current.inserted += inserted;
    this.#changed("generation");
  }

  /** @returns {Version|null} the version that was undone */
  undo() {
    const undone = this.current;
    if (undone.parent === null) return null;
    this.#up();
    this.#changed("undo");
    return undone;
  }

  /** @returns {Version|null} the version that was restored */
  redo() {
    if (this.current.next === null) return null;
    this.#down(this.#versions.get(this.current.next));
    this.#changed("redo");
    return this.current;
  }

  get canUndo() {
    return this.current.parent !== null;
  }

  get canRedo() {
    return this.current.next !== null;
  }

  /** The newest generation that the text contains, or null. */
  get generation() {
    return this.#path().findLast((version) => version.kind === "generation") ?? null;
  }

  /** The versions that start where this one starts, itself included, oldest first. */
  siblings({ parent }) {
    return [...this.#versions.values()].filter((version) => version.parent === parent);
  }

  /** The points on the way to the current text where a generation has alternatives. */
  get forks() {
    const children = Map.groupBy(this.#versions.values(), ({ parent }) => parent);
    return this.#path()
      .map((current) => ({ current, branches: children.get(current.parent) }))
      .filter(({ branches }) => branches.length > 1 && branches.some(isGeneration));
  }

  /** Undoes until the version is undone too. */
  undoTo(version) {
    while (this.current.parent !== null && this.current.id !== version.parent) this.#up();
    this.#changed("undo");
  }

  /** Shows a version, with whatever was written after it last. */
  visit(version) {
    const ancestors = new Set(this.#path(version));
    while (!ancestors.has(this.current)) this.#up();
    const path = this.#path(version);
    for (const each of path.slice(path.indexOf(this.current) + 1)) this.#down(each);
    while (this.canRedo) this.#down(this.#versions.get(this.current.next));
    this.#changed("visit");
  }

  /** Undoes the current version and forgets it; nothing may have been written after it. */
  discard() {
    const { current } = this;
    this.#up();
    this.#versions.delete(current.id);
    const rest = this.siblings({ parent: this.current.id });
    this.current.next = rest.at(-1)?.id ?? null;
    this.#changed("undo");
  }

  #path(version = this.current) {
    const path = [];
    for (let each = version; each; each = this.#versions.get(each.parent)) path.unshift(each);
    return path;
  }

  #end() {
    return this.current.at + this.current.inserted.length;
  }

  /** Joins typing to the last edit; returns whether it did. */
  #extend(at, length, inserted, now) {
    const { current } = this;
    const isTyping = current.kind === "edit" && now - this.#editedAt < TYPING_PAUSE_MS;
    if (!isTyping || current.next !== null) return false;
    if (length === 0 && at === this.#end()) {
      current.inserted += inserted;
    } else if (inserted === "" && current.inserted === "" && at + length === current.at) {
      const spans = take(this.spans, at, at + length);
      current.removedSpans = replaced(current.removedSpans, 0, 0, length, spans);
      current.removed = this.text.slice(at, at + length) + current.removed;
      current.at = at;
    } else {
      return false;
    }
    this.#replace(at, length, inserted, []);
    return true;
  }

  #add(kind, at, length, inserted, spans) {
    const version = {
      id: Math.max(...this.#versions.keys()) + 1,
      parent: this.current.id,
      kind,
      at,
      removed: this.text.slice(at, at + length),
      inserted,
      removedSpans: take(this.spans, at, at + length),
      next: null,
    };
    this.#versions.set(version.id, version);
    this.current.next = version.id;
    this.current = version;
    this.#replace(at, length, inserted, spans);
    this.#prune();
    return version;
  }

  #up() {
    const { at, inserted, removed, removedSpans, parent, id } = this.current;
    this.#replace(at, inserted.length, removed, removedSpans);
    this.current = this.#versions.get(parent);
    this.current.next = id;
  }

  #down(version) {
    const { at, removed, inserted, kind, given = "" } = version;
    const spans = kind === "edit" ? [] : [[given.length, inserted.length]];
    this.#replace(at, removed.length, inserted, spans);
    this.current.next = version.id;
    this.current = version;
  }

  #replace(at, length, inserted, insertedSpans) {
    this.text = this.text.slice(0, at) + inserted + this.text.slice(at + length);
    this.spans = replaced(this.spans, at, length, inserted.length, insertedSpans);
    this.caret = at + inserted.length;
  }

  /** Forgets the oldest steps, and the branches that leave from them. */
  #prune() {
    if (this.#versions.size <= MAX_VERSIONS) return;
    const root = this.#path().at(-MAX_UNDO_STEPS - 1);
    if (!root || root.parent === null) return;
    const isKept = (version) => this.#path(version).includes(root);
    this.#versions = new Map([...this.#versions].filter(([, version]) => isKept(version)));
    Object.assign(root, start(root.id), { next: root.next });
  }

  #changed(cause) {
    this.dispatchEvent(new CustomEvent("change", { detail: cause }));
  }
}

/** A text area has no carriage returns. */
const clean = (text) => text.replaceAll("\r", "");

const isGeneration = ({ kind }) => kind === "generation";

const start = (id) => ({
  id,
  parent: null,
  kind: "start",
  at: 0,
  removed: "",
  inserted: "",
  removedSpans: [],
  next: null,
});

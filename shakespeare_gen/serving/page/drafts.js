/**
 * The drafts: kept in the browser's storage, with their branches.
 *
 * A draft that another tab has changed is saved as a new one, so that neither is lost.
 */

import { byId, element } from "./dom.js";
import { alertWriter, confirmed } from "./notice.js";
import { stored } from "./storage.js";

const SAVE_MS = 400;
const TITLE_CHARS = 48;
const SHORT = { dateStyle: "medium", timeStyle: "short" };

export class Drafts {
  #versions;
  #index = stored("drafts");
  #current = null;
  #isSaved = true;
  #timer;

  constructor(versions) {
    this.#versions = versions;
    versions.addEventListener("change", ({ detail }) => {
      if (detail !== "load") this.#schedule();
    });
    byId("new-draft").addEventListener("click", () => this.create());
    addEventListener("pagehide", () => this.save());
    addEventListener("beforeunload", (event) => {
      this.save();
      if (!this.#isSaved) event.preventDefault();
    });
  }

  /** The first line of the text. */
  get title() {
    const line = this.#versions.text.trim().split("\n", 1)[0];
    return line.slice(0, TITLE_CHARS) || "Untitled";
  }

  /** Opens the draft that was changed last, or an empty one. */
  openNewest() {
    const [newest] = this.#list();
    if (newest) this.#open(newest.id);
    else this.create();
  }

  /** Starts a draft, unless the one before cannot be kept; returns whether it did. */
  create(text = "") {
    if (!this.save()) return false;
    this.#current = { id: crypto.randomUUID?.() ?? String(Date.now()), revision: 0 };
    this.#versions.load({ text });
    if (text) this.#schedule();
    this.show();
    return true;
  }

  /** Writes the draft to the storage, if it has changed; returns whether it is there. */
  save() {
    clearTimeout(this.#timer);
    if (this.#isSaved) return true;
    const { id, revision } = this.#current;
    const drafts = this.#list();
    const known = drafts.find((draft) => draft.id === id);
    if ((known?.revision ?? 0) !== revision)
      this.#current = { id: `${id}-${Date.now()}`, revision: 0 };
    this.#current.revision += 1;
    const entry = { ...this.#current, title: this.title, savedAt: Date.now() };
    const rest = drafts.filter((draft) => draft.id !== entry.id);
    this.#isSaved = this.#write(entry.id) && this.#index.write([entry, ...rest]);
    if (!this.#isSaved)
      alertWriter("This browser does not keep the draft. Copy or download it before you leave.");
    this.show();
    return this.#isSaved;
  }

  show() {
    const items = this.#list().map(({ id, title, savedAt }) => {
      const isCurrent = id === this.#current.id;
      const open = element(
        "button",
        {
          onclick: () => this.#switch(id),
          "aria-current": isCurrent ? "true" : null,
        },
        element("span", {}, title),
        element("time", {}, new Date(savedAt).toLocaleString([], SHORT)),
      );
      const remove = element(
        "button",
        {
          class: "remove",
          "aria-label": `Delete ${title}`,
          onclick: () => this.#remove(id, title),
        },
        "Delete",
      );
      return element("li", {}, open, remove);
    });
    byId("drafts").replaceChildren(...items);
  }

  #list() {
    return this.#index.read() ?? [];
  }

  #schedule() {
    this.#isSaved = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.save(), SAVE_MS);
  }

  /** Stores the draft; without its branches where they do not fit. */
  #write(id) {
    const { text, caret, spans, ...branches } = this.#versions.toJSON();
    const draft = stored(`draft.${id}`);
    return draft.write({ text, caret, spans, ...branches }) || draft.write({ text, caret, spans });
  }

  #switch(id) {
    if (this.save()) this.#open(id);
  }

  #open(id) {
    const { revision } = this.#list().find((draft) => draft.id === id);
    this.#current = { id, revision };
    this.#versions.load(stored(`draft.${id}`).read() ?? {});
    this.show();
  }

  async #remove(id, title) {
    if (!(await confirmed(`Delete the draft “${title}” and its branches?`))) return;
    if (id === this.#current.id) {
      this.#isSaved = true;
      clearTimeout(this.#timer);
    }
    stored(`draft.${id}`).remove();
    this.#index.write(this.#list().filter((draft) => draft.id !== id));
    if (id === this.#current.id) this.openNewest();
    else this.show();
  }
}

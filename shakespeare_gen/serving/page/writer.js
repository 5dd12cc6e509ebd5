/**
 * Generation: continues the text at the cursor, retries, and stops.
 */

import { promptBefore } from "./prompt.js";
import { alertWriter, announce, dismiss, notify } from "./notice.js";

export class Writer extends EventTarget {
  #engine;
  #versions;
  #settings;
  #models;
  #controller = null;

  constructor({ engine, versions, settings, models }) {
    super();
    this.#engine = engine;
    this.#versions = versions;
    this.#settings = settings;
    this.#models = models;
    versions.addEventListener("change", ({ detail }) => {
      if (detail !== "generation") this.stop();
    });
  }

  get isWriting() {
    return this.#controller !== null;
  }

  /** Continues the text at the cursor. */
  continue() {
    return this.#generate(this.#versions.caret, 0);
  }

  /** Continues from an index with a given text; what followed remains as a branch. */
  continueWith(index, given) {
    return this.#generate(index, this.#versions.text.length - index, given);
  }

  /** Writes the last generation anew. */
  async retry() {
    const { generation } = this.#versions;
    if (!generation) return notify("Nothing to retry yet.");
    this.stop();
    this.#versions.undoTo(generation);
    const { at, removed, given } = generation;
    const isWritten = await this.#generate(at, removed.length, given);
    if (!isWritten) this.#versions.visit(generation);
  }

  stop() {
    this.#controller?.abort();
    this.#setController(null);
  }

  /** Returns whether the text has changed. */
  async #generate(at, length, given = "") {
    this.stop();
    dismiss();
    const controller = new AbortController();
    const { signal } = controller;
    const version = this.#versions.begin(at, length, given);
    this.#setController(controller);
    const retries = this.#versions.siblings(version).filter(({ kind }) => kind === "generation");
    const request = {
      model: this.#models.id,
      prompt: promptBefore(this.#versions.text, at + given.length),
      ...this.#settings.request(retries.length - 1),
    };
    const onText = (text) => {
      if (!signal.aborted) this.#versions.append(text);
    };
    let hasFailed = false;
    try {
      await this.#engine.complete(request, onText, signal);
    } catch (error) {
      hasFailed = !signal.aborted;
      if (hasFailed) alertWriter(error.message);
    }
    if (this.#controller === controller) this.#setController(null);
    if (this.#versions.current !== version) return true; // the writer went on
    const written = version.inserted.slice(given.length);
    const isWritten = written !== "" || (!hasFailed && given !== "");
    if (!isWritten) this.#versions.discard();
    else announce(`${signal.aborted ? "Stopped" : "Wrote"}: ${written}`);
    return isWritten;
  }

  #setController(controller) {
    this.#controller = controller;
    this.dispatchEvent(new Event("change"));
  }
}

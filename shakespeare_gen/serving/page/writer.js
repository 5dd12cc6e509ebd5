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
  retry() {
    const { generation } = this.#versions;
    if (!generation) return notify("Nothing to retry yet.");
    this.stop();
    this.#versions.undoTo(generation);
    const { at, removed, given } = generation;
    return this.#generate(at, removed.length, given);
  }

  stop() {
    this.#controller?.abort();
    this.#setController(null);
  }

  async #generate(at, length, given = "") {
    this.stop();
    if (!this.#models.id) return alertWriter("There is no model to write with.");
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
    try {
      await this.#engine.complete(request, onText, signal);
    } catch (error) {
      if (!signal.aborted) alertWriter(error.message);
    }
    if (this.#controller === controller) this.#setController(null);
    if (this.#versions.current === version) this.#end(version, signal.aborted);
  }

  #end(version, isStopped) {
    const written = version.inserted.slice(version.given.length);
    announce(`${isStopped ? "Stopped" : "Wrote"}: ${written}`);
    this.#versions.discardEmpty();
  }

  #setController(controller) {
    this.#controller = controller;
    this.dispatchEvent(new Event("change"));
  }
}

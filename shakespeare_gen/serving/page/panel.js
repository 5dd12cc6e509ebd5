/**
 * The side panel and its tabs; on a phone it is a sheet at the bottom.
 */

import { byId } from "./dom.js";

const NAMES = ["settings", "model", "branches", "drafts"];

export class Panel {
  #tab = NAMES[0];
  #opener = null;

  constructor() {
    for (const name of NAMES) byId(`tab-${name}`).addEventListener("click", () => this.#show(name));
    byId("panel-button").addEventListener("click", () => this.toggle());
    byId("panel-close").addEventListener("click", () => this.close());
    byId("panel").addEventListener("keydown", (event) => this.#onKey(event));
    this.#show(this.#tab);
  }

  get isOpen() {
    return !byId("panel").hidden;
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open(this.#tab);
  }

  open(name) {
    if (!this.isOpen) this.#opener = document.activeElement;
    this.#setOpen(true);
    this.#show(name);
    byId(`tab-${name}`).focus();
  }

  close() {
    if (!this.isOpen) return;
    this.#setOpen(false);
    this.#opener?.focus({ preventScroll: true });
  }

  #setOpen(isOpen) {
    byId("panel").hidden = !isOpen;
    byId("panel-button").setAttribute("aria-expanded", isOpen);
  }

  #show(name) {
    this.#tab = name;
    for (const each of NAMES) {
      const isShown = each === name;
      byId(`tab-${each}`).setAttribute("aria-selected", isShown);
      byId(`tab-${each}`).tabIndex = isShown ? 0 : -1;
      byId(`panel-${each}`).hidden = !isShown;
    }
  }

  #onKey(event) {
    if (event.key === "Escape") {
      this.close();
      event.preventDefault();
    }
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || event.target.role !== "tab") return;
    const name = NAMES.at((NAMES.indexOf(this.#tab) + step) % NAMES.length);
    this.#show(name);
    byId(`tab-${name}`).focus();
  }
}

/**
 * The side panel and its tabs; on a phone it is a sheet at the bottom.
 */

import { byId } from "./dom.js";
import { moveFocus } from "./keyboard.js";

const NAMES = ["settings", "model", "branches", "drafts"];

export class Panel {
  #tab = NAMES[0];
  #opener = null;
  #tabs = NAMES.map((name) => byId(`tab-${name}`));

  constructor() {
    NAMES.forEach((name, index) => {
      for (const event of ["click", "focus"])
        this.#tabs[index].addEventListener(event, () => this.#show(name));
    });
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
    NAMES.forEach((each, index) => {
      const isShown = each === name;
      this.#tabs[index].setAttribute("aria-selected", isShown);
      this.#tabs[index].tabIndex = isShown ? 0 : -1;
      byId(`panel-${each}`).hidden = !isShown;
    });
  }

  #onKey(event) {
    if (event.key === "Escape") {
      this.close();
      event.preventDefault();
    }
    if (event.target.role === "tab") moveFocus(event, this.#tabs);
  }
}

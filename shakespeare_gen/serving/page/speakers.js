/**
 * The list of the corpus' speakers, to let one begin.
 */

import { byId, element } from "./dom.js";
import { moveFocus } from "./keyboard.js";

export class Speakers {
  #models;
  #choose;

  /** @param {{choose: (heading: string) => void}} parts */
  constructor({ models, choose }) {
    this.#models = models;
    this.#choose = choose;
    models.addEventListener("change", () => this.#show());
    byId("speaker-filter").addEventListener("input", () => this.#show());
    byId("speakers").addEventListener("keydown", (event) => this.#onKey(event));
    byId("speakers").addEventListener("beforetoggle", () => {
      byId("speaker-filter").value = "";
      this.#show();
    });
  }

  #show() {
    const { speakers } = this.#models;
    byId("speaker").hidden = speakers.length === 0;
    const wanted = byId("speaker-filter").value.toLowerCase();
    const items = speakers
      .filter((name) => name.toLowerCase().includes(wanted))
      .map((name) => {
        const onclick = () => {
          byId("speakers").hidePopover();
          this.#choose(name.endsWith(":") ? `${name}\n` : `${name}:\n`);
        };
        return element("li", {}, element("button", { onclick }, name));
      });
    byId("speaker-list").replaceChildren(...items);
  }

  #onKey(event) {
    const filter = byId("speaker-filter");
    const names = [...byId("speaker-list").querySelectorAll("button")];
    if (event.key === "Enter" && event.target === filter) {
      names[0]?.click();
      event.preventDefault();
    } else if (event.target !== filter || event.key === "ArrowDown") {
      moveFocus(event, [filter, ...names]);
    }
  }
}

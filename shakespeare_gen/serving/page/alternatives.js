/**
 * The likeliest characters at a place of the text, with bars; one can be chosen to go on from.
 */

import { byId, element } from "./dom.js";
import { moveFocus } from "./keyboard.js";
import { promptBefore } from "./prompt.js";

const COUNT = 8;
const GAP_PIXELS = 6;
const NAMES = { " ": "space", "\n": "new line", "\t": "tab" };

/** A character as it is shown: blanks have names. */
const shown = (text) => NAMES[text] ?? text.replaceAll("\n", "⏎");

const percent = (share) =>
  share < 0.001 ? "<0.1%" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

export class Alternatives {
  #engine;
  #manuscript;
  #models;
  #choose;
  #box = byId("alternatives");
  #controller;
  #index = null;

  /** @param {{choose: (index: number, text: string) => void}} parts */
  constructor({ engine, manuscript, models, choose }) {
    this.#engine = engine;
    this.#manuscript = manuscript;
    this.#models = models;
    this.#choose = choose;
    this.#box.addEventListener("keydown", (event) => this.#onKey(event));
  }

  get #buttons() {
    return [...byId("alternatives-list").querySelectorAll("button")];
  }

  get isOpen() {
    return !this.#box.hidden;
  }

  /**
   * Shows what the model expected at an index of the text.
   *
   * @param {number} index
   * @param {number} [bits] the surprise of the character that is there
   * @param {boolean} [takesFocus]
   */
  async show(index, bits, takesFocus = false) {
    if (!this.#models.id || (this.isOpen && index === this.#index && !takesFocus)) return;
    this.#controller?.abort();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    const { text } = this.#manuscript;
    const prompt = promptBefore(text, index);
    let next;
    try {
      next = await this.#engine.next(prompt, COUNT, this.#models.id, signal);
    } catch {
      return; // Nothing to show; `Writer` reports errors.
    }
    if (signal.aborted || this.#manuscript.text !== text) return;
    this.#index = index;
    this.#fill(next, text[index], bits);
    this.#box.hidden = false;
    this.#move();
    if (takesFocus) this.#buttons[0]?.focus();
  }

  hide() {
    this.#controller?.abort();
    if (!this.isOpen) return;
    if (this.#box.contains(document.activeElement)) this.#manuscript.focus();
    this.#box.hidden = true;
  }

  #fill(next, actual, bits) {
    const surprise = bits === undefined ? "" : `, ${bits.toFixed(1)} bits`;
    byId("alternatives-title").textContent =
      actual === undefined ? "Likely next" : `Here: ${shown(actual)}${surprise}`;
    const largest = Math.max(...next.map(({ probability }) => probability));
    const rows = next.map(({ text, probability }) => {
      const bar = element("span", { class: "probability" });
      bar.style.setProperty("--share", probability / largest);
      const onclick = () => {
        const index = this.#index;
        this.hide();
        this.#choose(index, text);
      };
      const button = element(
        "button",
        { onclick, "aria-current": text === actual ? "true" : null },
        element("span", { class: text in NAMES ? "blank" : "character" }, shown(text)),
        bar,
        element("span", { class: "percent" }, percent(probability)),
      );
      return element("li", {}, button);
    });
    byId("alternatives-list").replaceChildren(...rows);
  }

  /** Places the box under the character, or above it near the end of the window. */
  #move() {
    const { left, top, bottom } = this.#manuscript.rectOf(this.#index);
    const { width, height } = this.#box.getBoundingClientRect();
    const below = bottom + GAP_PIXELS;
    const isAbove = below + height > window.innerHeight - GAP_PIXELS;
    const x = Math.min(left - 16, window.innerWidth - width - GAP_PIXELS);
    this.#box.style.left = `${Math.max(GAP_PIXELS, x)}px`;
    this.#box.style.top = `${isAbove ? top - height - GAP_PIXELS : below}px`;
  }

  #onKey(event) {
    moveFocus(event, this.#buttons);
    if (event.key !== "Tab") return;
    this.hide();
    event.preventDefault();
  }
}

/**
 * The text area, and the mirror behind it that paints its text.
 *
 * The text of the text area itself is transparent. The mirror holds the same text in the same
 * type, so that it can also show a suggestion at the cursor and colour characters. Colours are
 * CSS highlights: they need no elements within the text.
 */

import { element } from "./dom.js";

const HEADER_PIXELS = 96;
const TOOLBAR_PIXELS = 140;
const AWAY_PIXELS = 240;

export class Manuscript {
  #area;
  #mirror;
  #head = new Text();
  #ghost = element("span", { class: "ghost" });
  #tail = new Text();
  #marks = new Map();

  /** @param {HTMLTextAreaElement} area @param {HTMLElement} mirror */
  constructor(area, mirror) {
    this.#area = area;
    this.#mirror = mirror;
    mirror.append(this.#head, this.#ghost, this.#tail, "\n"); // the height of an empty last line
  }

  get text() {
    return this.#area.value;
  }

  /** The end of the selection. */
  get caret() {
    return this.#area.selectionEnd;
  }

  get hasSelection() {
    return this.#area.selectionStart !== this.#area.selectionEnd;
  }

  /** The suggestion that is shown at the cursor. */
  get ghost() {
    return this.#ghost.textContent;
  }

  focus() {
    this.#area.focus({ preventScroll: true });
  }

  /** Shows a text with the caret at an index. */
  show(text, caret) {
    if (this.#area.value !== text) this.#area.value = text;
    if (this.#area.selectionEnd !== caret || this.hasSelection)
      this.#area.setSelectionRange(caret, caret);
    this.suggest("");
  }

  /** Shows a suggestion at the cursor; "" removes it. */
  suggest(ghost) {
    const split = ghost ? this.caret : this.text.length;
    const [head, tail] = [this.text.slice(0, split), this.text.slice(split)];
    if (this.#head.data !== head) this.#head.data = head;
    if (this.#tail.data !== tail) this.#tail.data = tail;
    if (this.ghost !== ghost) this.#ghost.textContent = ghost;
    for (const name of this.#marks.keys()) this.#paint(name);
  }

  /** Whether the suggestion is at a point of the window. */
  isGhostAt(x, y) {
    return [...this.#ghost.getClientRects()].some(
      ({ left, right, top, bottom }) => left <= x && x <= right && top <= y && y <= bottom,
    );
  }

  /** Colours spans of the text with the CSS highlight of this name. */
  mark(name, spans) {
    this.#marks.set(name, spans);
    this.#paint(name);
  }

  /** The index of the character at a point of the window, or null. */
  indexAt(x, y) {
    const line = Number.parseFloat(getComputedStyle(this.#mirror).lineHeight);
    const isBefore = (index) => {
      const { top, bottom, right } = this.rectOf(index);
      const leading = (line - (bottom - top)) / 2;
      return bottom + leading <= y || (top - leading <= y && right <= x);
    };
    let [low, high] = [0, this.text.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(middle)) low = middle + 1;
      else high = middle;
    }
    if (low === this.text.length) return null;
    const { left, right, top, bottom } = this.rectOf(low);
    const isInside = left <= x && x <= right && Math.abs((top + bottom) / 2 - y) <= line / 2;
    return isInside ? low : null;
  }

  /** Where the character at an index is in the window. @returns {DOMRect} */
  rectOf(index) {
    const range = document.createRange();
    const end = this.#place(Math.min(index + 1, this.text.length));
    range.setStart(...this.#place(index));
    range.setEnd(...end);
    const rects = range.getClientRects();
    if (rects.length) return rects[rects.length - 1];
    // The end of the text: the final line break of the mirror has a place.
    range.selectNodeContents(this.#mirror.lastChild);
    return range.getBoundingClientRect();
  }

  /**
   * Scrolls until the caret is well above the toolbar.
   *
   * @param {boolean} unlessAway whether to leave a reader alone who scrolled away from the caret
   */
  followCaret(unlessAway) {
    const { top, bottom } = this.rectOf(this.caret);
    const lowest = window.innerHeight - TOOLBAR_PIXELS;
    const hidden = bottom > lowest ? bottom - lowest : Math.min(0, top - HEADER_PIXELS);
    if (!unlessAway || (0 < hidden && hidden < AWAY_PIXELS)) window.scrollBy(0, hidden);
  }

  #place(index) {
    const { length } = this.#head;
    return index <= length ? [this.#head, index] : [this.#tail, index - length];
  }

  #paint(name) {
    if (!("highlights" in CSS)) return;
    const ranges = this.#marks.get(name).map(([start, end]) => {
      const [startContainer, startOffset] = this.#place(Math.min(start, this.text.length));
      const [endContainer, endOffset] = this.#place(Math.min(end, this.text.length));
      return new StaticRange({ startContainer, startOffset, endContainer, endOffset });
    });
    CSS.highlights.set(name, new Highlight(...ranges));
  }
}

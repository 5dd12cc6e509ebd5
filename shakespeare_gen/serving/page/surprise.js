/**
 * Colours the text by surprise: the negative log-probability of each character, in bits.
 */

import { byId, element } from "./dom.js";
import { alertWriter, announce } from "./notice.js";
import { promptStart } from "./prompt.js";

const PAUSE_MS = 500;
/** A character with at least this many bits has the colour of that level. */
const LEVELS_BITS = [1, 2, 3, 4, 6, 8];
/** How many tokens may stand for an unknown character, the most usual first. */
const REPLACEMENTS = [1, 0, 2, 3, 4];

export class Surprise {
  isOn = false;
  #engine;
  #manuscript;
  #models;
  #timer;
  #controller;
  #scored = "";
  #tokens = [];

  constructor({ engine, manuscript, models }) {
    this.#engine = engine;
    this.#manuscript = manuscript;
    this.#models = models;
    const swatches = LEVELS_BITS.map((bits, level) =>
      element("span", { class: `swatch level-${level + 1}` }, String(bits)),
    );
    byId("legend").append(...swatches, " bits");
  }

  /** The surprise of the character at an index in bits, or undefined. */
  bitsAt(index) {
    return this.#tokens.find(({ start, end }) => start <= index && index < end)?.bits;
  }

  toggle() {
    this.isOn = !this.isOn;
    byId("legend").hidden = !this.isOn;
    byId("legend-text").textContent = "Surprise";
    this.#scored = "";
    this.update();
  }

  /** Colours the text as it is now: what is unchanged at once, the rest after a pause. */
  update() {
    clearTimeout(this.#timer);
    this.#controller?.abort();
    const { text } = this.#manuscript;
    const unchanged = this.isOn ? commonPrefix(text, this.#scored) : 0;
    this.#tokens = this.#tokens.filter(({ end }) => end <= unchanged);
    this.#paint();
    if (this.isOn && text !== this.#scored)
      this.#timer = setTimeout(() => this.#score(text), PAUSE_MS);
  }

  /** The text looks different to another model. */
  reset() {
    this.#scored = "";
    this.update();
  }

  async #score(text) {
    if (!text || !this.#models.id) return;
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    const start = promptStart(text.length);
    try {
      const tokens = await this.#engine.score(text.slice(start), this.#models.id, signal);
      this.#tokens = placed(tokens, text, start);
    } catch (error) {
      if (!signal.aborted) alertWriter(error.message);
      return;
    }
    if (signal.aborted) return;
    this.#scored = text;
    this.#paint();
    const bits = this.#tokens.reduce((sum, token) => sum + token.bits, 0);
    const mean = (bits / (text.length - start)).toFixed(2);
    byId("legend-text").textContent = `Surprise: ${mean} bits per character`;
    announce(`Surprise: ${mean} bits per character.`);
  }

  #paint() {
    const levels = LEVELS_BITS.map(() => []);
    for (const { start, end, bits } of this.#tokens) {
      const level = LEVELS_BITS.findLastIndex((least) => bits / (end - start) >= least);
      if (level < 0) continue;
      const spans = levels[level];
      if (spans.at(-1)?.[1] === start) spans.at(-1)[1] = end;
      else spans.push([start, end]);
    }
    levels.forEach((spans, level) => this.#manuscript.mark(`surprise-${level + 1}`, spans));
  }
}

/**
 * Where the tokens of a model stand in the text.
 *
 * The model may have read a few tokens in place of a character that it does not know, such as
 * three full stops for an ellipsis: that character gets their surprise.
 */
function placed(tokens, text, start) {
  const found = [];
  let position = start;
  for (let index = 0; index < tokens.length;) {
    const isSame = text.startsWith(tokens[index].text, position);
    const end = position + (isSame ? tokens[index].text.length : 1);
    const isNext = (count) => text.startsWith(tokens[index + count]?.text ?? "", end);
    const count = isSame ? 1 : (REPLACEMENTS.find(isNext) ?? 1);
    const read = tokens.slice(index, index + count);
    const nats = read.reduce((sum, token) => sum - (token.log_probability ?? 0), 0);
    found.push({ start: position, end, bits: nats / Math.LN2 });
    position = end;
    index += count;
  }
  return found;
}

function commonPrefix(a, b) {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length += 1;
  return length;
}

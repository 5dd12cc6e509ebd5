/**
 * Where a text ends: stop strings, the end of a line, a speech or a document.
 *
 * As `shakespeare_gen.generation.stopping`: the end of the text is held back as long as it could
 * still become a stop string.
 *
 * @typedef {object} Ending a string before which a text ends
 * @property {string} string
 * @property {boolean} [afterText] it counts only after a character that is not a line end
 * @property {boolean} [joinsPrompt] the last speech of the prompt counts as part of the text
 */

const SPEECH_END = "\n\n";

/** @returns {Ending[]} */
export function endings({ stop = [], until_line = false, until_speaker = false }) {
  const strings = typeof stop === "string" ? [stop] : stop;
  const found = strings.filter((string) => string).map((string) => ({ string }));
  if (until_line) found.push({ string: "\n", afterText: true });
  if (until_speaker) found.push({ string: SPEECH_END, afterText: true, joinsPrompt: true });
  return found;
}

/** The length of a text before the first ending that is complete; null if there is none. */
function findEnd(text, every, hasText, speech) {
  const found = [];
  for (const { string, afterText, joinsPrompt } of every) {
    const head = joinsPrompt && !hasText ? speech : "";
    const whole = head + text;
    const skipped = afterText && !hasText ? /^\n*/.exec(whole)[0].length : 0;
    const at = whole.indexOf(string, skipped);
    if (at >= 0) found.push([at + string.length - head.length, Math.max(at - head.length, 0)]);
  }
  found.sort(([a, x], [b, y]) => a - b || x - y);
  return found.length ? found[0][1] : null;
}

/** How many characters at the end of a text could begin a string. */
function partial(held, string) {
  let size = Math.min(string.length - 1, held.length);
  while (size > 0 && !held.endsWith(string.slice(0, size))) size -= 1;
  return Math.max(size, 0);
}

export class Stopper {
  isOver;
  #endings;
  #decoder;
  #endId;
  #numLeft;
  #numKnown;
  #held = "";
  #hasText = false;
  #speech;

  /**
   * @param {Ending[]} every
   * @param {object} tokenizer
   * @param {number} length of the text in tokens at most
   * @param {string} prompt the text before
   * @param {number} numKnown how many characters of the first token belong to the prompt
   */
  constructor(every, tokenizer, length, prompt, numKnown = 0) {
    this.#endings = every;
    this.#decoder = tokenizer.decoder();
    this.#endId = tokenizer.endId;
    this.#numLeft = length;
    this.#numKnown = numKnown;
    const at = prompt.lastIndexOf(SPEECH_END);
    this.#speech = at < 0 ? prompt : prompt.slice(at + SPEECH_END.length);
    this.isOver = length === 0;
  }

  /** Takes the next token; returns the text that is certain. */
  feed(id) {
    if (this.isOver) return "";
    this.#numLeft -= 1;
    const isEnd = id === this.#endId;
    const piece = isEnd ? this.#decoder.flush() : this.#decoder.feed(id);
    this.#held += piece.slice(this.#numKnown);
    this.#numKnown = 0;
    const end = findEnd(this.#held, this.#endings, this.#hasText, this.#speech);
    this.isOver = end !== null || isEnd || this.#numLeft === 0;
    if (end !== null) return this.#take(end);
    if (this.isOver) return this.#take(this.#held.length);
    const sizes = this.#endings.map(({ string }) => partial(this.#held, string));
    return this.#take(this.#held.length - Math.max(0, ...sizes));
  }

  #take(count) {
    const taken = this.#held.slice(0, count);
    this.#held = this.#held.slice(count);
    this.#hasText ||= /[^\n]/.test(taken);
    return taken;
  }
}

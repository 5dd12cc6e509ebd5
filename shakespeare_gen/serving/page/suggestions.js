/**
 * Suggestions at the cursor while the writer pauses.
 */

import { announce } from "./notice.js";
import { promptBefore } from "./prompt.js";

const PAUSE_MS = 40; // longer than the interval of a key that is held down
const ANNOUNCE_MS = 900;
const MAX_CHARS = 60;

export class Suggestions {
  isEnabled = true;
  #engine;
  #manuscript;
  #models;
  #timer;
  #announceTimer;
  #controller;

  constructor({ engine, manuscript, models }) {
    this.#engine = engine;
    this.#manuscript = manuscript;
    this.#models = models;
  }

  get text() {
    return this.#manuscript.ghost;
  }

  /**
   * The writer typed. Typing what was suggested shortens the suggestion; anything else drops it.
   *
   * @param {string} typed
   * @param {string} suggested the suggestion before that
   */
  typed(typed, suggested) {
    this.dismiss();
    if (typed && suggested.length > typed.length && suggested.startsWith(typed))
      this.#manuscript.suggest(suggested.slice(typed.length));
    else if (this.isEnabled) this.#timer = setTimeout(() => this.#ask(), PAUSE_MS);
  }

  dismiss() {
    clearTimeout(this.#timer);
    clearTimeout(this.#announceTimer);
    this.#controller?.abort();
    if (this.text) this.#manuscript.suggest("");
  }

  async #ask() {
    const { text, caret, hasSelection } = this.#manuscript;
    const isEndOfLine = caret === text.length || text[caret] === "\n";
    if (!isEndOfLine || hasSelection || !text.trim() || !this.#models.id) return;
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    const request = {
      model: this.#models.id,
      prompt: promptBefore(text, caret),
      max_tokens: MAX_CHARS,
      temperature: 0,
      until_line: true,
    };
    let suggestion = "";
    const onText = (piece) => {
      suggestion += piece;
      if (!signal.aborted) this.#manuscript.suggest(suggestion.trimEnd());
    };
    try {
      await this.#engine.complete(request, onText, signal);
    } catch {
      return; // A suggestion that fails is no suggestion; `Writer` reports errors.
    }
    if (suggestion.length >= MAX_CHARS) this.#manuscript.suggest(withoutLastWord(suggestion));
    if (this.text)
      this.#announceTimer = setTimeout(
        () => announce(`Suggestion: ${this.text} Tab accepts.`),
        ANNOUNCE_MS,
      );
  }
}

/** A suggestion of full length without its last word, which is cut off. */
const withoutLastWord = (suggestion) => suggestion.replace(/(?<=\S)\s+\S*$/, "");

/** The first word of a suggestion, with the blanks before it. */
export const firstWord = (suggestion) => /^\s*\S+|^\s+/.exec(suggestion)?.[0] ?? suggestion;

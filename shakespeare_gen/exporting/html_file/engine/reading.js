/**
 * Reading a text, and what the model expects after it.
 *
 * States on the way are kept, so that a text which begins like an earlier one is not read again.
 *
 * @typedef {object} State a value; nothing changes it
 * @property {Array} parts the state of the network
 * @property {Float32Array} logits of the next token
 * @property {number[]} recent the last ids
 * @property {{text: string, before: State, probability: number}} [unfinished] the last word, if a
 *   longer token may begin with it: the state before, with the logits of such tokens alone, and the
 *   probability of one
 */

import { logSoftmax } from "./sampling.js";

const MAX_RECENT = 4096;
const STRIDE_TOKENS = 1024; // between the states that are kept
const MAX_KEPT_BYTES = 64 << 20;

export const copyOf = (parts) =>
  parts.map((part) => (Array.isArray(part) ? copyOf(part) : part.slice()));

const bytesOf = (parts) =>
  parts.reduce((sum, part) => sum + (Array.isArray(part) ? bytesOf(part) : part.byteLength), 0);

export class Reader {
  #network;
  #tokenizer;
  #kept = []; // {ids, state, numBytes}, the one used last is first

  constructor(network, tokenizer) {
    this.#network = network;
    this.#tokenizer = tokenizer;
  }

  /** @param {string} text one that `Tokenizer.prepare` returned @returns {Promise<State>} */
  async read(text, task) {
    const word = this.#tokenizer.unfinished(text);
    if (!word) return this.#state(this.#tokenizer.encode(text), task);
    const head = this.#tokenizer.encode(text.slice(0, text.length - word.length));
    const before = await this.#state(head, task);
    // Without any text before it, the word replaces the start token.
    const state = await this.#state([...head, ...this.#tokenizer.encode(word)], task);
    return { ...state, unfinished: await this.#unfinished(word, before, task) };
  }

  /** The log-probability of each token of a text in nats; the first follows the start token. */
  async score(text, task) {
    const ids = this.#tokenizer.encode(text);
    return { ids, nats: await this.#scores(ids, await this.#state([], task), task) };
  }

  async #scores(ids, { parts, logits }, task) {
    const after = copyOf(parts);
    let next = logits;
    const nats = [];
    for (const id of ids) {
      nats.push(logSoftmax(next)[id]);
      next = this.#network.step(id, after);
      if (task.isDue) await task.pause();
    }
    return nats;
  }

  async #unfinished(word, before, task) {
    const ids = this.#tokenizer.beginningWith(word);
    const nats = logSoftmax(before.logits);
    const asToken = ids.reduce((sum, id) => sum + Math.exp(nats[id]), 0);
    const letters = this.#tokenizer.encode(word);
    const scores = letters.length > 1 ? await this.#scores(letters, before, task) : [-Infinity];
    const spelled = Math.exp(scores.reduce((a, b) => a + b, 0));
    const logits = new Float32Array(nats.length).fill(-Infinity);
    for (const id of ids) logits[id] = before.logits[id];
    const probability = asToken ? asToken / (asToken + spelled) : 0;
    return { text: word, before: { ...before, logits }, probability };
  }

  /** The state after ids, or after the start token if there are none. */
  async #state(given, task) {
    const ids = given.length ? given : [this.#tokenizer.startId];
    const [found] = this.#kept
      .filter((kept) => kept.ids.length <= ids.length && kept.ids.every((id, i) => id === ids[i]))
      .sort((a, b) => b.ids.length - a.ids.length);
    if (found?.ids.length === ids.length) return this.#keep(found);
    const parts = found ? copyOf(found.state.parts) : this.#network.start();
    let logits;
    for (let at = found?.ids.length ?? 0; at < ids.length; at++) {
      const isKept = (at + 1) % STRIDE_TOKENS === 0 || at + 1 === ids.length;
      logits = this.#network.step(ids[at], parts, isKept);
      if (isKept) this.#put(ids.slice(0, at + 1), copyOf(parts), logits);
      if (task.isDue) await task.pause();
    }
    return this.#kept[0].state;
  }

  #put(ids, parts, logits) {
    const state = { parts, logits, recent: ids.slice(-MAX_RECENT) };
    const numBytes = bytesOf(parts) + logits.byteLength + 16 * ids.length;
    this.#keep({ ids, state, numBytes });
  }

  #keep(entry) {
    this.#kept = [entry, ...this.#kept.filter((kept) => kept !== entry)];
    let total = 0;
    this.#kept = this.#kept.filter((kept, i) => (total += kept.numBytes) <= MAX_KEPT_BYTES || !i);
    return entry.state;
  }
}

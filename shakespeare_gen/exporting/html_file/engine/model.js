/**
 * A model of the file: its networks and its tokenizer, and what the page asks of it.
 *
 *     const model = await Model.load(description, data, code);
 *     await model.complete({ prompt: "ROMEO:", max_tokens: 20, seed: 1 }, show, task);
 */

import { makeKernel } from "./kernel.js";
import { Philox } from "./random.js";
import { Reader, copyOf } from "./reading.js";
import { RecurrentNetwork } from "./recurrent.js";
import { DEFAULTS, Sampler, logSoftmax } from "./sampling.js";
import { Stopper, endings } from "./stopping.js";
import { weightsOf } from "./tensors.js";
import { makeTokenizer } from "./tokenizers.js";
import { TransformerNetwork } from "./transformer.js";

const FAMILIES = { recurrent: RecurrentNetwork, transformer: TransformerNetwork };
const DEFAULT_TOKENS = 16;
const FIRST_CHOICE = 1n << 62n; // the stream of a random number besides those of the tokens
const GREEDY_LIMIT = 0.5;

export class Model {
  #network;
  #tokenizer;
  #reader;
  #forbidden;

  /**
   * @param {object} description
   * @param {{family: string, options: object, weights: object}[]} description.networks
   * @param {import("./tokenizers.js").TokenizerValues} description.tokenizer
   * @param {ArrayBuffer} data the weights
   * @param {Uint8Array} code the kernel in WebAssembly
   */
  static async load({ networks, tokenizer }, data, code) {
    const kernel = await makeKernel(code);
    const made = networks.map(
      ({ family, options, weights }) =>
        new FAMILIES[family](kernel, options, weightsOf(weights, data)),
    );
    return new Model(made.length === 1 ? made[0] : new Ensemble(made), tokenizer, kernel.name);
  }

  constructor(network, tokenizer, kernelName) {
    this.#network = network;
    this.#tokenizer = makeTokenizer(tokenizer);
    this.#reader = new Reader(network, this.#tokenizer);
    this.#forbidden = tokenizer.forbidden_ids;
    this.kernelName = kernelName;
  }

  /**
   * Continues a prompt. The fields are those of POST /v1/completions; the text is that of `generate`
   * with the same seed.
   */
  async complete(request, onText, task) {
    const { max_tokens = DEFAULT_TOKENS, seed = 0, logit_bias = {} } = request;
    const prompt = this.#tokenizer.prepare(request.prompt ?? "");
    const read = await this.#reader.read(prompt, task);
    const [start, numKnown] = this.#begin(read, request);
    const before = this.#tokenizer.decode(read.recent);
    const stopper = new Stopper(endings(request), this.#tokenizer, max_tokens, before, numKnown);
    const parts = copyOf(start.parts);
    let { logits } = start;
    const options = Object.entries(request).filter(([name]) => name in DEFAULTS);
    const bias = this.#bias(logits.length, logit_bias);
    const sampler = new Sampler(Object.fromEntries(options), bias, start.recent);
    const random = new Philox(seed, 0n);
    let text = "";
    while (!stopper.isOver) {
      const id = sampler.draw(logits, random.float32());
      text += stopper.feed(id);
      if (!stopper.isOver) logits = this.#network.step(id, parts);
      if (!task.isDue) continue;
      if (text) onText(text);
      text = "";
      await task.pause();
    }
    if (text) onText(text);
  }

  /** The tokens of a text with their log-probabilities in nats. */
  async score(text, task) {
    const { ids, nats } = await this.#reader.score(this.#tokenizer.prepare(text), task);
    const decoder = this.#tokenizer.decoder();
    const pieces = ids.map((id) => decoder.feed(id));
    return pieces.map((piece, i) => ({ text: piece, log_probability: nats[i] }));
  }

  /** The logits after each of ids, row by row, without any text before. */
  async logits(ids, task) {
    const parts = this.#network.start();
    let every = null;
    for (const [at, id] of ids.entries()) {
      const logits = this.#network.step(id, parts);
      every ??= new Float32Array(ids.length * logits.length);
      every.set(logits, at * logits.length);
      if (task.isDue) await task.pause();
    }
    return every;
  }

  /** The `k` most likely next tokens with their probabilities. */
  async next(prompt, k, task) {
    const { logits } = await this.#reader.read(this.#tokenizer.prepare(prompt), task);
    const nats = logSoftmax(logits);
    const ids = [...nats.keys()].sort((a, b) => nats[b] - nats[a] || a - b).slice(0, k);
    return ids.map((id) => ({ text: this.#tokenizer.label(id), probability: Math.exp(nats[id]) }));
  }

  /** Where a text begins: after an unfinished word, or before a token that contains it. */
  #begin(state, { seed = 0, temperature = DEFAULTS.temperature }) {
    const word = state.unfinished;
    if (!word) return [state, 0];
    const limit = temperature ? new Philox(seed, FIRST_CHOICE).float64() : GREEDY_LIMIT;
    return word.probability > limit ? [word.before, word.text.length] : [state, 0];
  }

  #bias(size, additions) {
    const bias = new Float32Array(size);
    for (const id of this.#forbidden) bias[id] = -Infinity;
    for (const [id, value] of Object.entries(additions)) bias[id] += value;
    return bias;
  }
}

/** The mean probability of networks, on the mean scale of their logits; see `models.ensemble`. */
class Ensemble {
  #networks;

  constructor(networks) {
    this.#networks = networks;
  }

  start() {
    return this.#networks.map((network) => network.start());
  }

  step(id, state, needsLogits = true) {
    const every = this.#networks.map((network, i) => network.step(id, state[i], needsLogits));
    if (!needsLogits) return null;
    const scales = every.map((logits) => logSumExp(logits));
    const mean = scales.reduce((a, b) => a + b) / every.length;
    return every[0].map((_, i) => {
      const shares = every.map((logits, part) => logits[i] - scales[part]);
      return logSumExp(shares) - Math.log(every.length) + mean;
    });
  }
}

function logSumExp(values) {
  const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  return Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0)) + largest;
}

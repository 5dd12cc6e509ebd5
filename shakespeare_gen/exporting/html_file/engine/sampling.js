/**
 * Sampling: from logits to an id, as `shakespeare_gen.generation.sampling` does it.
 *
 * Arrays are Float32Array, so that every result is rounded as there. Options have the names and
 * neutral values of the package.
 *
 *     const sampler = new Sampler({ temperature: 0.8, top_p: 0.95 }, bias, recent);
 *     const id = sampler.draw(logits, random.float32());
 */

const { fround } = Math;
const WHOLE = 2 ** 22; // probabilities are rounded to multiples of 1 / WHOLE

export const DEFAULTS = {
  temperature: 1,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  typical_p: 1,
  mirostat_tau: 0,
  mirostat_eta: 0.1,
  repetition_penalty: 1,
  frequency_penalty: 0,
  presence_penalty: 0,
  no_repeat_ngram: 0,
  repeat_window: 64,
};

export class Sampler {
  #options;
  #bias;
  #recent;
  #limit; // of mirostat, in bits

  /**
   * @param {object} options those of `DEFAULTS` that differ
   * @param {Float32Array} bias added to the logits; -Infinity for ids that are never drawn
   * @param {number[]} recent the ids before, the last one last
   */
  constructor(options, bias, recent) {
    const entries = Object.entries({ ...DEFAULTS, ...options });
    this.#options = Object.fromEntries(entries.map(([name, value]) => [name, fround(value)]));
    this.#bias = bias;
    this.#recent = recent.slice(-this.#options.repeat_window);
    this.#limit = 2 * this.#options.mirostat_tau;
  }

  /** The id at a place in [0, 1) of the distribution. */
  draw(modelLogits, uniform) {
    const { mirostat_tau, repeat_window } = this.#options;
    let logits = modelLogits.map((value, i) => value + this.#bias[i]);
    logits = this.#withoutRepetition(this.#penalized(logits));
    logits = this.#likely(this.#heated(logits));
    const id = place(mirostat_tau ? this.#withinLimit(logits) : logits, uniform);
    if (mirostat_tau) this.#follow(logits, id);
    this.#recent.push(id);
    if (this.#recent.length > repeat_window) this.#recent.shift();
    return id;
  }

  #penalized(logits) {
    const { repetition_penalty, frequency_penalty, presence_penalty } = this.#options;
    if (repetition_penalty === 1 && !frequency_penalty && !presence_penalty) return logits;
    const counts = new Map();
    for (const id of this.#recent) counts.set(id, (counts.get(id) ?? 0) + 1);
    for (const [id, count] of counts) {
      const value = logits[id];
      const lowered = fround(value > 0 ? value / repetition_penalty : value * repetition_penalty);
      logits[id] = fround(lowered - fround(frequency_penalty * count)) - presence_penalty;
    }
    return logits;
  }

  /** Forbids ids that would complete an n-gram once more, unless none would remain. */
  #withoutRepetition(logits) {
    const n = this.#options.no_repeat_ngram;
    if (!n) return logits;
    const recent = this.#recent;
    const remaining = logits.slice();
    for (let end = n - 1; end < recent.length; end++) {
      let back = 1;
      while (back < n && recent[end - back] === recent.at(-back)) back += 1;
      if (back === n) remaining[recent[end]] = -Infinity;
    }
    return largest(remaining) > -Infinity ? remaining : logits;
  }

  #heated(logits) {
    const temperature = this.#options.temperature;
    const most = largest(logits);
    if (temperature) return logits.map((value) => fround(value - most) / temperature);
    const first = logits.indexOf(most);
    return logits.map((value, id) => (id === first ? 0 : -Infinity));
  }

  /** The filters that keep likely ids. */
  #likely(logits) {
    const { top_k, top_p, min_p, typical_p } = this.#options;
    let found = logits;
    if (top_k || top_p < 1) found = mostLikely(found, top_k, top_p);
    if (min_p) {
      const lowest = fround(largest(found) + fround(Math.log(min_p)));
      found = found.map((value) => (value >= lowest ? value : -Infinity));
    }
    return typical_p < 1 ? typical(found, typical_p) : found;
  }

  #withinLimit(logits) {
    const every = bits(logits);
    const limit = Math.max(this.#limit, every.reduce((a, b) => Math.min(a, b)));
    return logits.map((value, id) => (every[id] <= limit ? value : -Infinity));
  }

  #follow(logits, id) {
    const { mirostat_tau, mirostat_eta } = this.#options;
    const excess = fround(bits(logits)[id] - mirostat_tau);
    this.#limit = fround(this.#limit - fround(mirostat_eta * excess));
  }
}

// Loops: several times faster than `reduce`.
function largest(values) {
  let most = -Infinity;
  for (const value of values) if (value > most) most = value;
  return most;
}

function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return fround(total);
}

function softmax(logits) {
  const most = largest(logits);
  const powers = logits.map((value) => Math.exp(fround(value - most)));
  const total = sum(powers);
  return powers.map((value) => value / total);
}

/** The log-probabilities of logits, in nats. */
export function logSoftmax(logits) {
  const most = largest(logits);
  const shifted = logits.map((value) => value - most);
  const log = fround(Math.log(sum(shifted.map((value) => Math.exp(value)))));
  return shifted.map((value) => value - log);
}

const bits = (logits) => logSoftmax(logits).map((nats) => -nats / fround(Math.LN2));

/** The ids in descending order of keys; ties: the lowest id is first. Without those of -Infinity. */
function ordered(keys) {
  const ids = [];
  keys.forEach((key, id) => {
    if (key > -Infinity) ids.push(id);
  });
  return ids.sort((a, b) => keys[b] - keys[a] || a - b);
}

/** The first of the ids, before which the weights sum to less than a limit. */
function first(ids, weights, limit) {
  let before = 0;
  let count = 0;
  while (count < ids.length && before < limit) before = fround(before + weights[ids[count++]]);
  return ids.slice(0, count);
}

function only(ids, logits) {
  const kept = new Float32Array(logits.length).fill(-Infinity);
  for (const id of ids) kept[id] = logits[id];
  return kept;
}

function mostLikely(logits, k, p) {
  const ids = ordered(logits);
  const kept = k ? ids.slice(0, k) : ids;
  if (p >= 1) return only(kept, logits);
  const probabilities = softmax(logits);
  const total = sum(kept.map((id) => probabilities[id]));
  return only(first(kept, probabilities, fround(p * total)), logits);
}

function typical(logits, p) {
  const nats = logSoftmax(logits);
  const probabilities = nats.map((value) => Math.exp(value));
  const isPossible = (id) => probabilities[id] > 0;
  const weighted = nats.map((value, id) => (isPossible(id) ? -value * probabilities[id] : 0));
  const entropy = sum(weighted);
  const keys = nats.map((value, id) => (isPossible(id) ? -Math.abs(-value - entropy) : -Infinity));
  return only(first(ordered(keys), probabilities, p), logits);
}

/** The id at a place in [0, 1) of the cumulative distribution. */
function place(logits, uniform) {
  const whole = softmax(logits).map((value) => Math.floor(fround(fround(value * WHOLE) + 0.5)));
  const total = sum(whole);
  const at = Math.min(Math.floor(fround(uniform * total)), total - 1);
  let id = 0;
  for (let before = whole[0]; before <= at; before += whole[id]) id += 1;
  return id;
}

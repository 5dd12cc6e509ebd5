/**
 * The transformer family, as `shakespeare_gen.models.transformer` has it: normalization before each
 * part of a layer, rotary positions, attention over the last `context_tokens` positions with a cache
 * of keys and values, and an MLP with SwiGLU or GELU.
 *
 * The interface is that of `RecurrentNetwork`.
 */

import { row } from "./tensors.js";

const EPSILON = 1e-5;
const NUM_ANGLES = 2 ** 23; // of a turn; positions repeat after as many
const BASE = 10_000;
const GELU_SCALE = Math.sqrt(2 / Math.PI);
const GELU_CUBE = 0.044715;

export class TransformerNetwork {
  #kernel;
  #options;
  #embeddings;
  #layers;
  #finalScale;
  #logits;
  #frequencies;

  /** @param {object} options those of the model */
  constructor(kernel, options, weights) {
    this.#kernel = kernel;
    this.#options = options;
    this.#embeddings = weights["embedding/embeddings"];
    this.#layers = Array.from({ length: options.num_layers }, (_, index) => {
      const own = (name) => weights[`layer_${index + 1}/${name}`];
      const matrix = (name) => kernel.matrix(own(`${name}_kernel`));
      return {
        attentionScale: own("attention_scale"),
        qkv: matrix("qkv"),
        output: matrix("attention_output"),
        mlpScale: own("mlp_scale"),
        mlpInput: matrix("mlp_input"),
        mlpOutput: matrix("mlp_output"),
      };
    });
    this.#finalScale = weights["final/scale"];
    this.#logits = kernel.matrix(weights["logits/kernel"] ?? this.#embeddings);
    const half = options.width / options.num_heads / 2;
    this.#frequencies = Array.from({ length: half }, (_, i) =>
      Math.round((BASE ** (-i / half) / (2 * Math.PI)) * NUM_ANGLES),
    );
  }

  /** The position, and the keys and values of each layer: slot by slot, in each slot all heads. */
  start() {
    const { context_tokens, width } = this.#options;
    const cache = () => new Float32Array(context_tokens * width);
    return [Float64Array.of(0), ...this.#layers.flatMap(() => [cache(), cache()])];
  }

  step(id, state, needsLogits = true) {
    const [position, ...caches] = state;
    const turn = this.#turn(position[0]);
    const x = row(this.#embeddings, id);
    this.#layers.forEach((layer, index) => {
      const attended = this.#attend(layer, x, position[0], turn, caches.slice(2 * index));
      add(x, this.#kernel.product(layer.output, attended));
      const input = this.#kernel.product(layer.mlpInput, normalized(x, layer.mlpScale));
      add(x, this.#kernel.product(layer.mlpOutput, this.#activated(input)));
    });
    position[0] += 1;
    if (!needsLogits) return null;
    return this.#kernel.product(this.#logits, normalized(x, this.#finalScale)).slice();
  }

  /** The cosines and sines of a position. */
  #turn(position) {
    const angles = this.#frequencies.map(
      (frequency) => (((position % NUM_ANGLES) * frequency) % NUM_ANGLES) / NUM_ANGLES,
    );
    return angles.map((angle) => [Math.cos(2 * Math.PI * angle), Math.sin(2 * Math.PI * angle)]);
  }

  #attend({ qkv, attentionScale }, x, position, turn, [keys, values]) {
    const { width, num_heads, context_tokens } = this.#options;
    const size = width / num_heads;
    const projected = this.#kernel.product(qkv, normalized(x, attentionScale));
    const slot = position % context_tokens;
    const count = Math.min(position + 1, context_tokens);
    for (let begin = 0; begin < 2 * width; begin += size)
      rotate(projected.subarray(begin, begin + size), turn);
    keys.set(projected.subarray(width, 2 * width), slot * width);
    values.set(projected.subarray(2 * width), slot * width);
    const attended = new Float32Array(width);
    const shares = new Float32Array(count);
    for (let begin = 0; begin < width; begin += size) {
      for (let place = 0; place < count; place++) {
        let sum = 0;
        for (let i = begin; i < begin + size; i++) sum += projected[i] * keys[place * width + i];
        shares[place] = sum / Math.sqrt(size);
      }
      softmax(shares);
      for (let place = 0; place < count; place++)
        for (let i = begin; i < begin + size; i++)
          attended[i] += shares[place] * values[place * width + i];
    }
    return attended;
  }

  #activated(x) {
    if (this.#options.mlp === "gelu") {
      const inner = x.map((value) => GELU_SCALE * (value + GELU_CUBE * value ** 3));
      this.#kernel.tanh(inner);
      return x.map((value, i) => 0.5 * value * (1 + inner[i]));
    }
    const gates = x.slice(0, x.length / 2);
    const tanh = gates.map((gate) => 0.5 * gate);
    this.#kernel.tanh(tanh);
    return gates.map((gate, i) => gate * 0.5 * (tanh[i] + 1) * x[gates.length + i]);
  }
}

/** x divided by its root mean square, times the gain. */
function normalized(x, scale) {
  let sum = 0;
  for (const value of x) sum += value * value;
  const factor = 1 / Math.sqrt(sum / x.length + EPSILON);
  return x.map((value, i) => value * factor * scale[i]);
}

function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

/** Pair i of a head consists of the elements i and i + size / 2. */
function rotate(head, turn) {
  turn.forEach(([cosine, sine], i) => {
    const [a, b] = [head[i], head[i + turn.length]];
    head[i] = a * cosine - b * sine;
    head[i + turn.length] = a * sine + b * cosine;
  });
}

function softmax(x) {
  const largest = x.reduce((a, b) => Math.max(a, b));
  let total = 0;
  for (let i = 0; i < x.length; i++) total += x[i] = Math.exp(x[i] - largest);
  for (let i = 0; i < x.length; i++) x[i] /= total;
}

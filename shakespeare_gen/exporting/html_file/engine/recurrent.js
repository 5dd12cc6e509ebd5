/**
 * The recurrent family: embedding or one-hot vectors, recurrent layers, logits.
 *
 * A network has `start`, which makes the state before any token, and `step`, which reads a token and
 * changes the state; it returns the logits, Float32Array [vocabulary], unless they are not needed.
 * A state is a list of arrays.
 */

import { CELLS } from "./cells.js";
import { column, row } from "./tensors.js";

const MAX_TABLE_BYTES = 64 << 20;

export class RecurrentNetwork {
  #kernel;
  #layers;
  #logits;
  #bias;

  /**
   * @param {object} config `cell`, `units`, `num_layers` and `residual`, the options of the model
   * @param {Object<string, any>} weights by the names of the package
   */
  constructor(kernel, { cell, units, num_layers, residual }, weights) {
    this.#kernel = kernel;
    const embeddings = weights["embedding/embeddings"];
    this.#layers = Array.from({ length: num_layers }, (_, index) => {
      const own = CELLS[cell].forStep(within(weights, `${cell}_${index + 1}/`));
      const made = new CELLS[cell](kernel, own);
      const input = index ? new Input(kernel, own) : new Table(kernel, own, embeddings);
      return { cell: made, units, input, isResidual: residual && index > 0 };
    });
    this.#logits = kernel.matrix(weights["logits/kernel"]);
    this.#bias = weights["logits/bias"];
  }

  start() {
    return this.#layers.map(({ cell, units }) =>
      Array.from({ length: cell.parts }, () => new Float32Array(units)),
    );
  }

  step(id, state, needsLogits = true) {
    let x = id;
    this.#layers.forEach(({ cell, input, isResidual }, index) => {
      cell.step(input.project(x), state[index]);
      const [output] = state[index];
      x = isResidual ? output.map((value, i) => value + x[i]) : output;
    });
    if (!needsLogits) return null;
    return this.#kernel.product(this.#logits, x).map((value, i) => value + this.#bias[i]);
  }
}

/** The input of a layer after the first: the output of the layer before. */
class Input {
  #kernel;
  #matrix;
  #bias;

  constructor(kernel, { kernel: matrix, bias }) {
    this.#kernel = kernel;
    this.#matrix = kernel.matrix(matrix);
    this.#bias = bias;
  }

  project(x) {
    const projected = this.#kernel.product(this.#matrix, x);
    for (let i = 0; i < projected.length; i++) projected[i] += this.#bias[i];
    return projected;
  }
}

/** The input of the first layer: an id. What was computed is kept, unless there are many ids. */
class Table {
  #rows = new Map();
  #isKept;
  #compute;

  constructor(kernel, { kernel: matrix, bias }, embeddings) {
    this.#isKept = 4 * bias.length * (embeddings ?? matrix).rows <= MAX_TABLE_BYTES;
    if (embeddings) {
      const input = new Input(kernel, { kernel: matrix, bias });
      this.#compute = (id) => input.project(row(embeddings, id));
    } else {
      this.#compute = (id) => column(matrix, id).map((value, i) => value + bias[i]);
    }
  }

  project(id) {
    if (!this.#isKept) return this.#compute(id);
    let found = this.#rows.get(id);
    if (!found) this.#rows.set(id, (found = this.#compute(id).slice()));
    return found;
  }
}

/** The entries whose names begin with a prefix, without it. */
function within(weights, prefix) {
  const entries = Object.entries(weights).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(entries.map(([name, value]) => [name.slice(prefix.length), value]));
}

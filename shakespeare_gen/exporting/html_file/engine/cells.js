/**
 * The recurrent cells, as `shakespeare_gen.models.cells` has them.
 *
 * Weights are by name: a matrix `{rows, columns, values, scales}` with a row for each output, or a
 * Float32Array. A cell is made of the weights that its `forStep` returned.
 *
 * @typedef {object} Cell
 * @property {number} parts of the state, each a Float32Array [units]; the first is the output
 * @property {(projected: Float32Array, state: Float32Array[]) => void} step changes the state;
 *   `projected` is the product of the input and the kernel, plus the bias
 */

const sigmoid = (x) => 0.5 * (Math.tanh(0.5 * x) + 1);
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

class Lstm {
  parts = 2;
  #kernel;
  #recurrent;
  #tanh;

  /** The gates i, f and o are halved: sigmoid(x) is (tanh(x / 2) + 1) / 2. Halves are exact. */
  static forStep({ kernel, recurrent_kernel, bias }) {
    const units = bias.length / 4;
    const half = (value, i) => (Math.floor(i / units) === 2 ? value : value / 2);
    const halved = (matrix) => ({ ...matrix, scales: matrix.scales.map(half) });
    return {
      kernel: halved(kernel),
      recurrent_kernel: halved(recurrent_kernel),
      bias: bias.map(half),
    };
  }

  constructor(kernel, { recurrent_kernel, bias }) {
    this.#kernel = kernel;
    this.#recurrent = kernel.matrix(recurrent_kernel);
    this.#tanh = new Float32Array(bias.length / 4);
  }

  step(projected, [h, c]) {
    const units = h.length;
    const tanh = this.#tanh;
    const gates = this.#kernel.product(this.#recurrent, h);
    for (let i = 0; i < gates.length; i++) gates[i] += projected[i];
    this.#kernel.tanh(gates);
    for (let i = 0; i < units; i++) {
      const added = 0.5 * (gates[i] + 1) * gates[2 * units + i];
      c[i] = 0.5 * (gates[units + i] + 1) * c[i] + added;
    }
    tanh.set(c);
    this.#kernel.tanh(tanh);
    for (let i = 0; i < units; i++) h[i] = 0.5 * (gates[3 * units + i] + 1) * tanh[i];
  }
}

class Gru {
  parts = 1;
  #kernel;
  #recurrent;
  #recurrentBias;
  #gates;
  #candidate;

  /** The bias has a row for the input and a row for the state. */
  static forStep({ bias, ...weights }) {
    const size = bias.length / 2;
    return { ...weights, bias: bias.slice(0, size), recurrentBias: bias.slice(size) };
  }

  constructor(kernel, { recurrent_kernel, recurrentBias }) {
    const units = recurrentBias.length / 3;
    this.#kernel = kernel;
    this.#recurrent = kernel.matrix(recurrent_kernel);
    this.#recurrentBias = recurrentBias;
    this.#gates = new Float32Array(2 * units);
    this.#candidate = new Float32Array(units);
  }

  step(projected, [h]) {
    const units = h.length;
    const [gates, candidate] = [this.#gates, this.#candidate];
    const recurrent = this.#kernel.product(this.#recurrent, h);
    for (let i = 0; i < recurrent.length; i++) recurrent[i] += this.#recurrentBias[i];
    for (let i = 0; i < gates.length; i++) gates[i] = 0.5 * (projected[i] + recurrent[i]);
    this.#kernel.tanh(gates);
    for (let i = 0; i < units; i++) {
      const reset = 0.5 * (gates[units + i] + 1);
      candidate[i] = projected[2 * units + i] + reset * recurrent[2 * units + i];
    }
    this.#kernel.tanh(candidate);
    for (let i = 0; i < units; i++)
      h[i] = candidate[i] + 0.5 * (gates[i] + 1) * (h[i] - candidate[i]);
  }
}

/** The simple RNN, and the handcrafted cell, which differs from it only in training. */
class SimpleRnn {
  parts = 1;
  #kernel;
  #recurrent;

  static forStep(weights) {
    return weights;
  }

  constructor(kernel, { recurrent_kernel }) {
    this.#kernel = kernel;
    this.#recurrent = kernel.matrix(recurrent_kernel);
  }

  step(projected, [h]) {
    const sums = this.#kernel.product(this.#recurrent, h);
    for (let i = 0; i < h.length; i++) sums[i] += projected[i];
    this.#kernel.tanh(sums);
    h.set(sums);
  }
}

class MinGru {
  parts = 1;

  static forStep(weights) {
    return weights;
  }

  step(projected, [h]) {
    const units = h.length;
    for (let i = 0; i < units; i++) {
      const update = projected[i];
      h[i] = sigmoid(-update) * h[i] + sigmoid(update) * projected[units + i];
    }
  }
}

class MinLstm {
  parts = 1;

  static forStep(weights) {
    return weights;
  }

  step(projected, [h]) {
    const units = h.length;
    for (let i = 0; i < units; i++) {
      const difference = softplus(-projected[units + i]) - softplus(-projected[i]);
      h[i] =
        sigmoid(difference) * h[i] + sigmoid(-difference) * projected[2 * units + i];
    }
  }
}

/** By the values of the option `cell`. */
export const CELLS = {
  lstm: Lstm,
  gru: Gru,
  simple_rnn: SimpleRnn,
  handcrafted: SimpleRnn,
  min_gru: MinGru,
  min_lstm: MinLstm,
};

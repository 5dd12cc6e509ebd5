/**
 * The arithmetic of a step: products of int8 matrices and float32 vectors, and tanh.
 *
 * `makeKernel` returns one of two classes with the same functions: in WebAssembly with 128-bit SIMD
 * (`kernel.wat`), or in plain JavaScript where that is missing. Their results differ in the last
 * bits.
 *
 *     const matrix = kernel.matrix({ rows, columns, values, scales });
 *     const y = kernel.product(matrix, x); // the scales times the product; valid until the next one
 *     kernel.tanh(y);
 */

const ROWS = 4; // of a block of a matrix in memory
const COLUMNS = 8;
const MAX_BITS = 14; // of the first part of an element
const PAGE_BYTES = 1 << 16;

/** @typedef {{rows: number, columns: number, values: Int8Array, scales: Float32Array}} Values */

/** @param {Uint8Array} code the module in WebAssembly; empty: none */
export async function makeKernel(code) {
  try {
    const { instance } = await WebAssembly.instantiate(code);
    return new WasmKernel(instance.exports);
  } catch {
    return new PlainKernel();
  }
}

const ceil = (count, multiple) => Math.ceil(count / multiple) * multiple;

class WasmKernel {
  name = "WebAssembly SIMD";
  #exports;
  #end = 16; // of what is allocated
  #parts = new Map(); // by length, where the parts of a vector are

  constructor(exports) {
    this.#exports = exports;
  }

  /** @param {Values} values row by row */
  matrix({ rows, columns, values, scales }) {
    const [paddedRows, paddedColumns] = [ceil(rows, ROWS), ceil(columns, COLUMNS)];
    const at = this.#allocate(paddedRows * paddedColumns);
    const scalesAt = this.#allocate(4 * paddedRows);
    const y = this.#allocate(4 * paddedRows);
    const blocks = new Int8Array(this.#exports.memory.buffer, at, paddedRows * paddedColumns);
    for (let row = 0; row < rows; row++) {
      let place = (row - (row % ROWS)) * paddedColumns + (row % ROWS) * COLUMNS;
      for (let column = 0; column < columns; column += COLUMNS, place += ROWS * COLUMNS) {
        const begin = row * columns + column;
        const end = Math.min(begin + COLUMNS, (row + 1) * columns);
        for (let at = begin; at < end; at++) blocks[place + at - begin] = values[at];
      }
    }
    this.#floats(scalesAt, rows).set(scales);
    return { rows, columns, at, scalesAt, y, paddedRows, paddedColumns };
  }

  product(matrix, x) {
    const { memory, split, product } = this.#exports;
    const { at, scalesAt, y, rows, columns, paddedRows, paddedColumns } = matrix;
    // The sum of a row must stay below 2^31.
    const bits = Math.min(MAX_BITS, Math.floor(Math.log2((2 ** 31 - 1) / (127 * columns))));
    const { whole, high, low } = this.#partsOf(paddedColumns);
    new Float32Array(memory.buffer, whole, columns).set(x);
    const unit = split(whole, paddedColumns, high, low, bits);
    const small = unit * 2 ** -(bits + 1);
    product(at, scalesAt, paddedRows, paddedColumns, high, low, unit, small, y);
    return this.#floats(y, rows);
  }

  /** Replaces the elements of a vector, or of a product. */
  tanh(vector) {
    const { memory, tanh } = this.#exports;
    if (vector.buffer === memory.buffer) return tanh(vector.byteOffset, ceil(vector.length, 4));
    const { whole } = this.#partsOf(ceil(vector.length, COLUMNS));
    const copy = this.#floats(whole, vector.length);
    copy.set(vector);
    tanh(whole, ceil(vector.length, 4));
    vector.set(copy);
  }

  #floats(at, size) {
    return new Float32Array(this.#exports.memory.buffer, at, size);
  }

  #partsOf(size) {
    let found = this.#parts.get(size);
    if (!found) {
      const [whole, high, low] = [4, 2, 2].map((bytes) => this.#allocate(bytes * size));
      found = { whole, high, low };
      this.#parts.set(size, found);
    }
    return found;
  }

  /** Memory at a multiple of 16. */
  #allocate(numBytes) {
    const { memory } = this.#exports;
    const at = this.#end;
    this.#end = ceil(at + numBytes, 16);
    const missing = this.#end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
    return at;
  }
}

class PlainKernel {
  name = "JavaScript";

  /** @param {Values} values */
  matrix({ rows, columns, values, scales }) {
    return { rows, columns, values, scales, y: new Float32Array(rows) };
  }

  product({ rows, columns, values, scales, y }, x) {
    for (let row = 0, at = 0; row < rows; row++) {
      let sum = 0;
      for (let column = 0; column < columns; column++) sum += values[at++] * x[column];
      y[row] = sum * scales[row];
    }
    return y;
  }

  tanh(vector) {
    for (let i = 0; i < vector.length; i++) vector[i] = Math.tanh(vector[i]);
  }
}

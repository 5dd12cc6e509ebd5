/**
 * The weights of a file: float32 arrays, and int8 matrices with a scale for each row.
 *
 * @typedef {object} Matrix
 * @property {number} rows
 * @property {number} columns
 * @property {Int8Array} values row by row
 * @property {Float32Array} scales by row: the weight is the value times the scale
 */

/**
 * Weights by name.
 *
 * @param {Object<string, {shape: number[], offset: number, scales?: number}>} index places in the
 *   data, in bytes; `scales` that of the scales of a matrix
 * @param {ArrayBuffer} data
 */
export function weightsOf(index, data) {
  const made = ([name, { shape, offset, scales }]) => {
    const size = shape.reduce((product, length) => product * length, 1);
    if (scales === undefined) return [name, new Float32Array(data, offset, size)];
    const [rows, columns] = shape;
    const values = new Int8Array(data, offset, size);
    return [name, { rows, columns, values, scales: new Float32Array(data, scales, rows) }];
  };
  return Object.fromEntries(Object.entries(index).map(made));
}

/** A row of a matrix. @param {Matrix} matrix @returns {Float32Array} */
export const row = ({ columns, values, scales }, index) =>
  Float32Array.from({ length: columns }, (_, i) => values[index * columns + i] * scales[index]);

/** A column of a matrix. @param {Matrix} matrix @returns {Float32Array} */
export const column = ({ rows, columns, values, scales }, index) =>
  Float32Array.from({ length: rows }, (_, i) => values[i * columns + index] * scales[i]);

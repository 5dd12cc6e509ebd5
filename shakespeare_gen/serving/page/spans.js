/**
 * Sorted, disjoint spans [start, end) of a text: the parts that a model wrote.
 */

/** @typedef {[number, number][]} Spans */

const shifted = (spans, by) => spans.map(([start, end]) => [start + by, end + by]);

/** The parts of spans inside [start, end). @returns {Spans} */
const clipped = (spans, start, end) =>
  spans.map(([a, b]) => [Math.max(a, start), Math.min(b, end)]).filter(([a, b]) => a < b);

/** The spans of text[start, end), counted from start. @returns {Spans} */
export const take = (spans, start, end) => shifted(clipped(spans, start, end), -start);

/**
 * The spans after text[at, at + removed) was replaced.
 *
 * @param {Spans} spans
 * @param {number} at
 * @param {number} removed length of the text taken out
 * @param {number} inserted length of the text put in
 * @param {Spans} insertedSpans spans of the text put in, counted from its start
 * @returns {Spans}
 */
export function replaced(spans, at, removed, inserted, insertedSpans) {
  const joined = [];
  for (const [start, end] of [
    ...clipped(spans, 0, at),
    ...shifted(insertedSpans, at),
    ...shifted(clipped(spans, at + removed, Infinity), inserted - removed),
  ]) {
    const last = joined.at(-1);
    if (last && last[1] === start) last[1] = end;
    else joined.push([start, end]);
  }
  return joined;
}

/** The number of characters in spans. */
export const size = (spans) => spans.reduce((sum, [start, end]) => sum + end - start, 0);

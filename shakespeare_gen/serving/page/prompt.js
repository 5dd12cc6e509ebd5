/**
 * How much of a long text a request carries.
 */

const MAX_PROMPT_CHARS = 12_000;
const STEP_CHARS = 4_000;

/**
 * Where the prompt that ends at an index starts.
 *
 * It moves in steps, so that a server that caches prompts finds the same start again.
 */
export function promptStart(end) {
  return Math.max(0, Math.ceil((end - MAX_PROMPT_CHARS) / STEP_CHARS) * STEP_CHARS);
}

/** The text before an index, as far back as a request reaches. */
export const promptBefore = (text, end) =>
  text.slice(promptStart(end), end).replace(/^[\uDC00-\uDFFF]/, "");

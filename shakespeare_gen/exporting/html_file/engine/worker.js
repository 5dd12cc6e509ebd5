/**
 * The worker: answers the messages of `local_engine.js`.
 *
 * A message is `{id, method, values}`; the answers are `{id, text}` for each piece of a text, and at
 * last `{id, result}` or `{id, error}`. `stop` with the id of a request ends it without an answer.
 */

import { Model } from "./model.js";
import { Stopped, Task } from "./task.js";

const tasks = new Map();
let loading;

const METHODS = {
  async load({ description, data, code }) {
    loading = inflated(data).then((weights) => Model.load(description, weights, code));
    return { kernel: (await loading).kernelName };
  },
  async complete({ request }, task, onText) {
    return (await loading).complete(request, onText, task);
  },
  async score({ text }, task) {
    return (await loading).score(text, task);
  },
  async logits({ ids }, task) {
    return (await loading).logits(ids, task);
  },
  async next({ prompt, k }, task) {
    return (await loading).next(prompt, k, task);
  },
};

globalThis.onmessage = async ({ data: { id, method, values } }) => {
  if (method === "stop") return tasks.get(id)?.stop();
  const task = new Task();
  tasks.set(id, task);
  try {
    const result = await METHODS[method](values, task, (text) => postMessage({ id, text }));
    postMessage({ id, result });
  } catch (error) {
    if (!(error instanceof Stopped)) postMessage({ id, error: error.message });
  }
  tasks.delete(id);
};

/** @param {Uint8Array} data compressed with DEFLATE */
function inflated(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

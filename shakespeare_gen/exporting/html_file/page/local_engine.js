/**
 * The engine of the page when the model is in the file: a worker computes.
 *
 * @implements {import("./http_engine.js").Engine}
 */
export class LocalEngine {
  #worker;
  #model;
  #calls = new Map();
  #count = 0;

  /**
   * @param {object} parts
   * @param {string} parts.script the code of the worker
   * @param {{id: string, card: object}} parts.model
   * @param {{description: object, data: Uint8Array, code: Uint8Array}} parts.values what it loads
   */
  constructor({ script, model, values }) {
    this.#model = model;
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    this.#worker = new Worker(url);
    this.#worker.onmessage = ({ data }) => this.#calls.get(data.id)?.(data);
    this.#worker.onerror = ({ message }) => {
      for (const answer of this.#calls.values()) answer({ error: message });
    };
    /** Resolves to the name of the kernel. */
    this.ready = this.#call("load", values).then(({ kernel }) => kernel);
  }

  async models() {
    await this.ready;
    return [this.#model];
  }

  complete(request, onText, signal) {
    return this.#call("complete", { request }, signal, onText);
  }

  score(text, model, signal) {
    return this.#call("score", { text }, signal);
  }

  next(prompt, k, model, signal) {
    return this.#call("next", { prompt, k }, signal);
  }

  #call(method, values, signal, onText) {
    const id = this.#count++;
    return new Promise((resolve, reject) => {
      const settle = (act, value) => {
        this.#calls.delete(id);
        signal?.removeEventListener("abort", stop);
        act(value);
      };
      const stop = () => {
        this.#worker.postMessage({ id, method: "stop" });
        settle(reject, signal.reason);
      };
      if (signal?.aborted) return reject(signal.reason);
      signal?.addEventListener("abort", stop);
      this.#calls.set(id, ({ text, result, error }) => {
        if (text !== undefined) onText(text);
        else if (error !== undefined) settle(reject, new Error(error));
        else settle(resolve, result);
      });
      this.#worker.postMessage({ id, method, values });
    });
  }
}

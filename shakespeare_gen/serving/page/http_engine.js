/**
 * The engine of the page when a server computes: the HTTP API of `shakespeare_gen.serve`.
 *
 * An engine is all that the page knows of its models. Another one may compute in the browser; it
 * needs these four functions, each of which throws an `EngineError` or any other `Error`:
 *
 * @typedef {object} Engine
 * @property {() => Promise<Model[]>} models
 * @property {(request: object, onText: (text: string) => void, signal?: AbortSignal)
 *   => Promise<void>} complete continues `request.prompt`; the fields are those of
 *   POST /v1/completions
 * @property {(text: string, model: string, signal?: AbortSignal)
 *   => Promise<{text: string, log_probability: number|null}[]>} score the tokens of a text, nats
 * @property {(prompt: string, k: number, model: string, signal?: AbortSignal)
 *   => Promise<{text: string, probability: number}[]>} next the likeliest tokens after a prompt
 *
 * @typedef {object} Model
 * @property {string} id
 * @property {object} card what is known of the model; every field may be missing
 */

/** What the engine cannot do, in words for the writer. */
export class EngineError extends Error {
  constructor(message, status = null) {
    super(message);
    this.status = status;
  }
}

/** @implements {Engine} */
export class HttpEngine {
  #askKey;
  #key;

  /**
   * @param {object} parts
   * @param {string|null} parts.key the API key, for a server that wants one
   * @param {() => Promise<string|null>} parts.askKey asks for a key after the server refused
   */
  constructor({ key, askKey }) {
    this.#key = key;
    this.#askKey = askKey;
  }

  async models() {
    const response = await this.#send("/v1/models", {});
    const { data } = await response.json();
    return data.map(({ id, shakespeare_gen: card = {} }) => ({ id, card }));
  }

  async complete(request, onText, signal) {
    const body = { ...request, stream: true, cache_prompt: true };
    const response = await this.#post("/v1/completions", body, signal);
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const { choices, error } = JSON.parse(data);
      if (error) throw new EngineError(error.message);
      if (!choices?.length) continue; // the usage, if asked for
      if (choices[0].text) onText(choices[0].text);
    }
    throw new EngineError("The connection closed before the text was complete.");
  }

  async score(text, model, signal) {
    const response = await this.#post("/v1/score", { model, text }, signal);
    return (await response.json()).tokens;
  }

  async next(prompt, k, model, signal) {
    const response = await this.#post("/v1/next", { model, prompt, k }, signal);
    return (await response.json()).next;
  }

  /** Characters that the model does not know become the nearest ones, or else are skipped. */
  async #post(path, fields, signal, unknown = "nearest") {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ ...fields, unknown });
    try {
      return await this.#send(path, { method: "POST", headers, body, signal });
    } catch (error) {
      if (error.status !== 400 || unknown === "skip") throw error;
      return this.#post(path, fields, signal, "skip");
    }
  }

  async #send(path, init) {
    const key = this.#key ? { Authorization: `Bearer ${this.#key}` } : {};
    let response;
    try {
      response = await fetch(path, { ...init, headers: { ...init.headers, ...key } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new EngineError("The server does not answer. Is it still running?");
    }
    if (response.status === 401) {
      this.#key = await this.#askKey();
      if (this.#key) return this.#send(path, init);
    }
    if (response.ok) return response;
    throw new EngineError(await explanation(response), response.status);
  }
}

/** The message of an error response. */
async function explanation(response) {
  const seconds = response.headers.get("Retry-After");
  if (response.status === 429)
    return `The server is busy. Try again ${seconds ? `in ${seconds} s` : "shortly"}.`;
  if (response.status === 503) return "The server is loading or shutting down. Try again shortly.";
  const { error } = await response.json().catch(() => ({}));
  return error?.message ?? `The server answered with status ${response.status}.`;
}

/** The data of server-sent events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (buffer + value).split(/\r?\n/);
    buffer = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
  }
}

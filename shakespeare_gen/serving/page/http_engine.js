/**
 * The engine of the page when a server computes: the HTTP API of `shakespeare_gen.serve`.
 *
 * An engine is all that the page knows of its models. Another one may compute in the browser; it
 * needs these four functions, each of which throws an `EngineError` or any other `Error`:
 *
 * @typedef {object} Engine
 * @property {() => Promise<Model[]>} models
 * @property {(request: object, onText: (text: string) => void, signal?: AbortSignal)
 *   => Promise<"stop"|"length">} complete continues `request.prompt`; the fields are those of
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
export class EngineError extends Error {}

/** @implements {Engine} */
export class HttpEngine {
  async models() {
    const { data } = await this.#json("GET", "/v1/models");
    return data.map(({ id, shakespeare_gen: card = {} }) => ({ id, card }));
  }

  async complete(request, onText, signal) {
    const body = { ...request, stream: true, cache_prompt: true };
    const response = await this.#send("POST", "/v1/completions", body, signal);
    let finishReason = null;
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return finishReason ?? "stop";
      const { choices, error } = JSON.parse(data);
      if (error) throw new EngineError(error.message);
      if (!choices?.length) continue; // the usage, if asked for
      if (choices[0].text) onText(choices[0].text);
      finishReason = choices[0].finish_reason ?? finishReason;
    }
    throw new EngineError("The connection closed before the text was complete.");
  }

  async score(text, model, signal) {
    return (await this.#json("POST", "/v1/score", { model, text }, signal)).tokens;
  }

  async next(prompt, k, model, signal) {
    return (await this.#json("POST", "/v1/next", { model, prompt, k }, signal)).next;
  }

  async #json(method, path, body, signal) {
    return (await this.#send(method, path, body, signal)).json();
  }

  async #send(method, path, body, signal) {
    const headers = body ? { "Content-Type": "application/json" } : {};
    let response;
    try {
      response = await fetch(path, { method, headers, body: JSON.stringify(body), signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new EngineError("The server does not answer. Is it still running?");
    }
    if (!response.ok) throw new EngineError(await explanation(response));
    return response;
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

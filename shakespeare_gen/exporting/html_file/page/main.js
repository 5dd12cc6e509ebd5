/**
 * The page with the engine and the model of its file. Other elements of the file hold them.
 */

import { start } from "./app.js";
import { byId } from "./dom.js";
import { LocalEngine } from "./local_engine.js";

const { description, model } = JSON.parse(byId("description").textContent);

/** The bytes of an element in base64. A loop: `Uint8Array.from` takes ten times as long. */
function bytesIn(id) {
  const text = atob(byId(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export const engine = new LocalEngine({
  script: byId("worker").textContent,
  model,
  values: { description, data: bytesIn("weights"), code: bytesIn("kernel") },
});

start(engine);

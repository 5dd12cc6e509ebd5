/**
 * The page with the engine and the model of its file. Other elements of the file hold them.
 */

import { start } from "./app.js";
import { byId } from "./dom.js";
import { LocalEngine } from "./local_engine.js";

const { description, model } = JSON.parse(byId("description").textContent);

/** @param {string} id that of an element with bytes in base64 */
const bytesIn = (id) => Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));

export const engine = new LocalEngine({
  script: byId("worker").textContent,
  model,
  values: { description, data: bytesIn("weights"), code: bytesIn("kernel") },
});

start(engine);

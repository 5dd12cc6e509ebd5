/**
 * The API key of a server that is reached from another machine.
 */

import { byId } from "./dom.js";
import { stored } from "./storage.js";

const store = stored("api_key");

/** The key given last time, or null. */
export const savedKey = () => store.read();

/** Asks for the key and keeps it; null if the writer gives none. */
export function askKey() {
  const dialog = byId("key");
  byId("key-input").value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    const onClose = () => {
      const key = byId("key-input").value || null;
      store.write(key);
      resolve(key);
    };
    dialog.addEventListener("close", onClose, { once: true });
  });
}

/**
 * Messages: announced to a screen reader, or shown above the toolbar as well.
 */

import { byId } from "./dom.js";

const SHOWN_MS = 5000;
let timer;

/** Announces what just happened, which the page shows by itself. */
export function announce(text) {
  byId("announcement").textContent = text;
}

/** Shows a message for a few seconds. */
export function notify(text) {
  show(text);
  timer = setTimeout(dismiss, SHOWN_MS);
}

/** Shows an error until it is dismissed or the writer goes on. */
export const alertWriter = show;

export function dismiss() {
  clearTimeout(timer);
  byId("notice").hidden = true;
  byId("notice-text").textContent = "";
}

function show(text) {
  clearTimeout(timer);
  byId("notice").hidden = false;
  byId("notice-text").textContent = text;
  announce(text);
}

byId("notice-close").addEventListener("click", dismiss);

/** Asks before something is deleted. @returns {Promise<boolean>} */
export function confirmed(question) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = question;
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    const onClose = () => resolve(dialog.returnValue === "confirm");
    dialog.addEventListener("close", onClose, { once: true });
  });
}

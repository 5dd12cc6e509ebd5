/**
 * Ways out of the page: copy, download, and a link.
 *
 * A link carries the text, the model and the settings in its fragment, which browsers do not send.
 */

import { alertWriter, notify } from "./notice.js";

const MAX_LINK_CHARS = 16_000;

/** Copies text and says so. */
export async function copy(text, message) {
  try {
    await navigator.clipboard.writeText(text);
    notify(message);
  } catch {
    alertWriter("The browser does not allow copying here.");
  }
}

/** The address of the page with this text and these settings, or null if it gets too long. */
export function linkTo({ text, model, settings }) {
  const fields = new URLSearchParams({ ...settings, model, prompt: text });
  const link = new URL(`#${fields}`, location.href).href;
  return link.length <= MAX_LINK_CHARS ? link : null;
}

/** What a link carried; null for an ordinary address. Restores the ordinary address. */
export function takeShared() {
  const { prompt, model, ...settings } = Object.fromEntries(
    new URLSearchParams(location.hash.slice(1)),
  );
  if (prompt === undefined) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return { text: prompt, model, settings };
}

/** Saves text as a file. */
export function download(text, title) {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  anchor.download = `${title.replaceAll(/[^\p{L}\p{N}]+/gu, "-").replaceAll(/^-|-$/g, "") || "text"}.txt`;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}

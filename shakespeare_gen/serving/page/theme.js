/**
 * Light, dark, or as the system has it. Applied before the page is first painted.
 */

import { stored } from "./storage.js";

const THEMES = ["system", "light", "dark"];
const store = stored("theme");

/** The theme in use. */
export const theme = () => document.documentElement.dataset.theme;

/** Changes to the next theme, and returns it. */
export function nextTheme() {
  apply(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  store.write(theme());
  return theme();
}

function apply(name) {
  document.documentElement.dataset.theme = name;
}

const saved = store.read();
apply(THEMES.includes(saved) ? saved : "system");

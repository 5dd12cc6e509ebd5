/**
 * Joins the parts of the page. The only thing that it is given is an engine.
 */

import { Alternatives } from "./alternatives.js";
import { Branches } from "./branches.js";
import { byId } from "./dom.js";
import { Drafts } from "./drafts.js";
import { onKeys } from "./keyboard.js";
import { Manuscript } from "./manuscript.js";
import { Models } from "./models.js";
import { alertWriter, announce } from "./notice.js";
import { Panel } from "./panel.js";
import { Settings } from "./settings.js";
import { copy, download, linkTo, takeShared } from "./share.js";
import { size } from "./spans.js";
import { Speakers } from "./speakers.js";
import { stored } from "./storage.js";
import { Suggestions, firstWord } from "./suggestions.js";
import { Surprise } from "./surprise.js";
import { nextTheme, theme } from "./theme.js";
import { Versions } from "./versions.js";
import { Writer } from "./writer.js";

const HOVER_MS = 150;

/** @param {import("./http_engine.js").Engine} engine */
export function start(engine) {
  const area = byId("text");
  const manuscript = new Manuscript(area, byId("mirror"));
  const versions = new Versions();
  const settings = new Settings();
  const models = new Models(engine);
  const drafts = new Drafts(versions);
  const branches = new Branches(versions);
  const panel = new Panel();
  const writer = new Writer({ engine, versions, settings, models });
  const suggestions = new Suggestions({ engine, manuscript, models });
  const surprise = new Surprise({ engine, manuscript, models });
  const alternatives = new Alternatives({
    engine,
    manuscript,
    models,
    choose: (index, text) => {
      manuscript.focus();
      writer.continueWith(index, text);
    },
  });
  new Speakers({ models, choose: beginSpeech });

  function onVersions({ detail }) {
    suggestions.dismiss();
    alternatives.hide();
    manuscript.show(versions.text, versions.caret);
    showAuthor();
    if (detail !== "edit") manuscript.followCaret(detail === "generation" && writer.isWriting);
    if (detail === "load") manuscript.focus();
    branches.show();
    surprise.update();
    showState();
  }

  function onInput({ isComposing }) {
    const { text, caret } = manuscript;
    const suggested = suggestions.text;
    const { at, length, inserted } = difference(versions.text, text, caret);
    const isAtCaret = length === 0 && at === versions.caret;
    versions.edit(at, length, inserted);
    if (!isComposing) suggestions.typed(isAtCaret ? inserted : "", suggested);
  }

  function accept(text) {
    if (!text) return false;
    const rest = suggestions.text.slice(text.length);
    versions.suggest(manuscript.caret, text);
    if (rest) manuscript.suggest(rest);
    else suggestions.typed("", "");
    return true;
  }

  function beginSpeech(heading) {
    const before = versions.text.slice(0, versions.caret).trimEnd();
    const start = before.length;
    const blanks = before ? "\n\n" : "";
    versions.edit(start, versions.caret - start, blanks + heading);
    manuscript.focus();
    suggestions.typed("", "");
  }

  function undo() {
    const undone = versions.undo();
    announce(undone ? `Undone: ${described(undone)}` : "Nothing to undo.");
  }

  function redo() {
    const redone = versions.redo();
    announce(redone ? `Redone: ${described(redone)}` : "Nothing to redo.");
  }

  function escape() {
    if (alternatives.isOpen) alternatives.hide();
    else if (suggestions.text) suggestions.dismiss();
    else if (writer.isWriting) writer.stop();
    else return false;
    return true;
  }

  function showState() {
    const { text, spans } = versions;
    const words = text.match(/\S+/g)?.length ?? 0;
    const share = Math.round((100 * size(spans)) / (text.length || 1));
    byId("title").textContent = drafts.title;
    document.title = drafts.title;
    byId("statistics").textContent =
      `${words.toLocaleString("en")} ${words === 1 ? "word" : "words"}` +
      (share ? ` · ${share}% by the model` : "");
    byId("undo").disabled = !versions.canUndo;
    byId("redo").disabled = !versions.canRedo;
    byId("retry").disabled = !versions.generation;
  }

  /** Shows what the model wrote, unless colours show the surprise. */
  function showAuthor() {
    manuscript.mark("model", surprise.isOn ? [] : versions.spans);
  }

  function showWriting() {
    byId("continue").textContent = writer.isWriting ? "Stop" : "Continue";
    byId("continue").classList.toggle("is-writing", writer.isWriting);
  }

  function showTheme() {
    byId("theme").setAttribute("aria-label", `Theme: ${theme()}`);
  }

  function toggleSurprise() {
    surprise.toggle();
    showAuthor();
    byId("surprise").setAttribute("aria-pressed", surprise.isOn);
    area.inputMode = surprise.isOn ? "none" : ""; // a tap then opens no keyboard
  }

  function alternativesAtCaret() {
    suggestions.dismiss();
    alternatives.show(manuscript.caret, surprise.bitsAt(manuscript.caret), true);
  }

  let hoverTimer;
  function onPointer({ clientX, clientY }, delayMs) {
    clearTimeout(hoverTimer);
    if (!surprise.isOn || writer.isWriting) return;
    hoverTimer = setTimeout(() => {
      const index = manuscript.indexAt(clientX, clientY);
      if (index === null) alternatives.hide();
      else alternatives.show(index, surprise.bitsAt(index));
    }, delayMs);
  }

  versions.addEventListener("change", onVersions);
  writer.addEventListener("change", showWriting);
  models.addEventListener("change", () => surprise.reset());
  area.addEventListener("input", onInput);
  area.addEventListener("beforeinput", (event) => {
    const act = { historyUndo: undo, historyRedo: redo }[event.inputType];
    if (!act) return;
    event.preventDefault();
    act();
  });
  document.addEventListener("selectionchange", () => {
    if (manuscript.text !== versions.text) return; // an edit, whose input event follows
    if (manuscript.caret !== versions.caret) suggestions.dismiss();
    versions.caret = manuscript.caret;
  });
  area.addEventListener("mousedown", (event) => {
    if (!manuscript.isGhostAt(event.clientX, event.clientY)) return;
    event.preventDefault();
    accept(suggestions.text);
  });
  area.addEventListener("blur", () => suggestions.dismiss());
  area.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") onPointer(event, HOVER_MS);
  });
  area.addEventListener("pointerleave", () => clearTimeout(hoverTimer));
  area.addEventListener("click", (event) => onPointer(event, 0));
  addEventListener("scroll", () => alternatives.hide());
  addEventListener("resize", () => alternatives.hide());
  document.addEventListener("pointerdown", ({ target }) => {
    if (target !== area && !byId("alternatives").contains(target)) alternatives.hide();
  });

  const buttons = {
    undo,
    redo,
    retry: () => writer.retry(),
    continue: () => (writer.isWriting ? writer.stop() : writer.continue()),
    surprise: toggleSurprise,
    "model-button": () => panel.open("model"),
    "keys-button": () => byId("keys").showModal(),
    "alternatives-close": () => alternatives.hide(),
    "copy-text": () => copy(versions.text, "Copied the text."),
    "copy-link": copyLink,
    download: () => download(versions.text, drafts.title),
  };
  for (const [id, act] of Object.entries(buttons)) byId(id).addEventListener("click", act);
  for (const button of byId("share").querySelectorAll("button"))
    button.addEventListener("click", () => byId("share").hidePopover());
  // The cursor stays in the text when a button of the toolbar is pressed with the pointer.
  document.querySelector(".bar").addEventListener("mousedown", (event) => event.preventDefault());
  byId("theme").addEventListener("click", () => {
    announce(`Theme: ${nextTheme()}`);
    showTheme();
  });

  const suggests = stored("suggests");
  byId("suggests").checked = suggestions.isEnabled = suggests.read() ?? true;
  byId("suggests").addEventListener("change", ({ target }) => {
    suggestions.isEnabled = target.checked;
    suggests.write(target.checked);
  });

  function copyLink() {
    const link = linkTo({ text: versions.text, model: models.id, settings: settings.changed });
    if (link) return copy(link, "Copied the link. It contains the text and the settings.");
    return alertWriter("The text is too long for a link. Download it instead.");
  }

  onKeys(area, {
    Tab: () => accept(suggestions.text),
    "Ctrl-ArrowRight": () => accept(firstWord(suggestions.text)),
    "Alt-ArrowRight": () => accept(firstWord(suggestions.text)),
    "Ctrl-Space": alternativesAtCaret,
    "Alt-ArrowDown": alternativesAtCaret,
  });
  onKeys(document, {
    Escape: escape,
    "Ctrl-z": outsideFields(undo),
    "Ctrl-y": outsideFields(redo),
    "Ctrl-Shift-z": outsideFields(redo),
    "Ctrl-Enter": () => void writer.continue(),
    "Ctrl-r": () => void writer.retry(),
    "Alt-PageUp": () => branches.move(-1),
    "Alt-PageDown": () => branches.move(1),
    "Alt-s": toggleSurprise,
    "Alt-p": () => panel.toggle(),
    F1: () => byId("keys").showModal(),
  });

  /** Opens what a link carries as a draft of its own; returns it, or null. */
  function openShared() {
    const shared = takeShared();
    if (!shared || !drafts.create(shared.text)) return null;
    settings.set(shared.settings);
    return shared;
  }

  addEventListener("hashchange", () => {
    const shared = openShared();
    if (shared?.model) models.choose(shared.model);
  });
  showTheme();
  showWriting();
  const shared = openShared();
  if (!shared) drafts.openNewest();
  models.load(shared?.model);
}

/** What changed between two texts, the second of which was edited up to its caret. */
function difference(before, after, caret) {
  const tail = before.endsWith(after.slice(caret)) ? after.length - caret : 0;
  const limit = Math.min(before.length, after.length) - tail;
  let at = 0;
  while (at < limit && before[at] === after[at]) at += 1;
  const length = before.length - tail - at;
  return { at, length, inserted: after.slice(at, after.length - tail) };
}

/** Acts unless an input has the focus, which has an undo of its own. */
const outsideFields =
  (act) =>
  ({ target }) =>
    !target.matches("input") && act();

const described = ({ kind, inserted, removed }) => {
  const chars = Math.max(inserted.length, removed.length);
  return `${kind} of ${chars} ${chars === 1 ? "character" : "characters"}`;
};

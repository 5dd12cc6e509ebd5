/**
 * The settings of generation: what they mean, their form, and the request they make.
 */

import { byId, element } from "./dom.js";
import { stored } from "./storage.js";

/**
 * A setting that equals `off` has no effect and is not sent.
 *
 * @typedef {object} Setting
 * @property {string} name the field of the request
 * @property {string} label
 * @property {string} meaning
 * @property {number|boolean|string} value the default
 * @property {number|boolean|string} [off]
 * @property {number} [min] [max] [step] bounds of a number that has a slider
 * @property {Object<string, string>} [choices] the labels of its values
 * @property {boolean} [numeric] whether a text may only have digits
 */

/** @type {Setting[]} */
const COMMON = [
  slider("temperature", "Temperature", "Low is predictable, high is daring.", 0.8, [0, 2, 0.05]),
  slider("max_tokens", "Length", "The most characters to write at once.", 300, [20, 2000, 20]),
  {
    name: "until",
    label: "Write until",
    meaning: "Where a text may end before its full length.",
    value: "length",
    choices: { length: "Full length", until_line: "End of line", until_speaker: "Next speaker" },
  },
  slider(
    "top_p",
    "Top p",
    "Keeps the likeliest of this total probability.",
    0.95,
    [0.05, 1, 0.05],
    1,
  ),
  slider("top_k", "Top k", "Keeps only this many of the likeliest characters.", 0, [0, 65, 1], 0),
  slider(
    "min_p",
    "Min p",
    "Drops what is below this share of the likeliest.",
    0,
    [0, 0.5, 0.01],
    0,
  ),
];

/** Settings that are folded away. @type {Setting[]} */
const RARE = [
  slider(
    "typical_p",
    "Typical p",
    "Keeps those of nearly average surprise.",
    1,
    [0.05, 1, 0.05],
    1,
  ),
  slider(
    "mirostat_tau",
    "Mirostat",
    "Keeps the surprise near this many bits, in place of top k, top p, min p and typical p.",
    0,
    [0, 6, 0.1],
    0,
  ),
  slider(
    "no_repeat_ngram",
    "No repeats",
    "Never repeats a run of this many within the last 64 characters.",
    0,
    [0, 32, 1],
    0,
  ),
  slider(
    "repetition_penalty",
    "Repetition penalty",
    "Above 1, recent characters are less likely.",
    1,
    [1, 2, 0.05],
    1,
  ),
  slider(
    "frequency_penalty",
    "Frequency penalty",
    "Grows with every use of a character.",
    0,
    [-2, 2, 0.1],
    0,
  ),
  slider(
    "presence_penalty",
    "Presence penalty",
    "Applies once to every character used.",
    0,
    [-2, 2, 0.1],
    0,
  ),
  {
    name: "seed",
    label: "Seed",
    meaning: "The same seed writes the same text; each retry adds 1. Empty: random.",
    value: "",
    numeric: true,
  },
  {
    name: "stop",
    label: "Stop at",
    meaning: "Text that ends the generation. \\n is a new line.",
    value: "",
  },
];

const SETTINGS = [...COMMON, ...RARE];

const DEFAULTS = Object.fromEntries(SETTINGS.map(({ name, value }) => [name, value]));
/** A preset leaves the length, the end and the seed alone. */
const { max_tokens, until, seed, stop, ...SAMPLING } = DEFAULTS;

const PRESETS = {
  Steady: { temperature: 0.5, top_p: 0.9 },
  Balanced: {},
  Lively: { temperature: 1, top_p: 1 },
  Wild: { temperature: 1.3, top_p: 1, min_p: 0.03 },
};

/** What mirostat replaces: the API refuses them beside it. */
const REPLACED = ["top_p", "top_k", "min_p", "typical_p"];

const SEED_LIMIT = 2 ** 31;

function slider(name, label, meaning, value, [min, max, step], off) {
  return { name, label, meaning, value, off, min, max, step };
}

/** Whether a value is one that the form could have. */
function isValid({ min, max, choices, numeric }, value) {
  if (min !== undefined) return Number.isFinite(value) && value >= min && value <= max;
  if (choices) return Object.hasOwn(choices, value);
  return typeof value === "string" && (!numeric || /^\d{0,9}$/.test(value));
}

export class Settings {
  #store = stored("settings");
  #values = { ...DEFAULTS };
  #inputs = new Map();
  #presets = new Map();

  constructor() {
    this.#build();
    this.set(this.#store.read() ?? {});
  }

  /** The settings that differ from their defaults. */
  get changed() {
    const entries = Object.entries(this.#values);
    return Object.fromEntries(entries.filter(([name, value]) => value !== DEFAULTS[name]));
  }

  /** Takes the valid ones of these values; every other setting gets its default. */
  set(values) {
    this.#values = { ...DEFAULTS };
    for (const setting of SETTINGS) {
      const given = values[setting.name];
      const value = setting.min !== undefined && given !== undefined ? Number(given) : given;
      if (isValid(setting, value)) this.#values[setting.name] = value;
    }
    this.#show();
    this.#store.write(this.changed);
  }

  /** The fields of a completion request. `retry` counts the texts written here before. */
  request(retry = 0) {
    const fields = {};
    for (const { name, off, min } of SETTINGS)
      if (min !== undefined && this.#values[name] !== off) fields[name] = this.#values[name];
    if (fields.mirostat_tau) for (const name of REPLACED) delete fields[name];
    const { until, seed, stop } = this.#values;
    if (until !== "length") fields[until] = true;
    if (stop) fields.stop = stop.replaceAll("\\n", "\n");
    const first = seed === "" ? Math.floor(Math.random() * SEED_LIMIT) : Number(seed) + retry;
    return { ...fields, seed: first % SEED_LIMIT };
  }

  #build() {
    for (const [name, preset] of Object.entries(PRESETS)) {
      const values = { ...SAMPLING, ...preset };
      const onclick = () => this.set({ ...this.#values, ...values });
      const button = element("button", { onclick }, name);
      this.#presets.set(button, values);
      byId("presets").append(button);
    }
    byId("common-settings").append(...COMMON.map((setting) => this.#row(setting)));
    byId("rare-settings").append(...RARE.map((setting) => this.#row(setting)));
  }

  #row(setting) {
    const { name, label, meaning, min } = setting;
    const id = `setting-${name}`;
    const input = this.#input(setting, id);
    const output = min === undefined ? "" : element("output", { for: id });
    input.addEventListener("input", () => {
      const value = min === undefined ? input.value : input.valueAsNumber;
      if (isValid(setting, value)) this.set({ ...this.#values, [name]: value });
    });
    this.#inputs.set(name, { input, output, setting });
    return element(
      "div",
      { class: "setting" },
      element("label", { htmlFor: id }, label),
      output,
      input,
      element("p", { id: `${id}-meaning`, class: "meaning" }, meaning),
    );
  }

  #input({ min, max, step, choices, numeric, name }, id) {
    const shared = { id, "aria-describedby": `${id}-meaning` };
    if (min !== undefined) return element("input", { type: "range", min, max, step, ...shared });
    if (choices) {
      const options = Object.entries(choices).map(([value, text]) => new Option(text, value));
      return element("select", shared, ...options);
    }
    const inputMode = numeric ? "numeric" : "text";
    return element("input", { type: "text", inputMode, autocomplete: "off", name, ...shared });
  }

  #show() {
    for (const [name, { input, output, setting }] of this.#inputs) {
      const value = this.#values[name];
      if (input.value !== String(value)) input.value = value;
      if (!output) continue;
      const text = value === setting.off ? "off" : String(value);
      output.textContent = text;
      input.setAttribute("aria-valuetext", text);
      const share = (value - setting.min) / (setting.max - setting.min);
      input.style.setProperty("--filled", `${100 * share}%`);
    }
    for (const [button, values] of this.#presets) {
      const isActive = Object.entries(values).every(
        ([name, value]) => this.#values[name] === value,
      );
      button.setAttribute("aria-pressed", isActive);
    }
  }
}

/**
 * The models of the engine: which are chosen, and what their cards say.
 *
 * Several chosen models make an ensemble, whose name joins theirs with "+".
 */

import { lossCurve } from "./curve.js";
import { byId, element } from "./dom.js";
import { alertWriter } from "./notice.js";
import { stored } from "./storage.js";

const store = stored("model");

export class Models extends EventTarget {
  #engine;
  #models = [];
  #chosen = [];

  constructor(engine) {
    super();
    this.#engine = engine;
  }

  /** The name of the chosen model or ensemble; empty while there is none. */
  get id() {
    return this.#chosen.map(({ id }) => id).join("+");
  }

  /** The speakers of the corpus of the first chosen model that has any. */
  get speakers() {
    return this.#chosen.find(({ card }) => card.speakers?.length)?.card.speakers ?? [];
  }

  /** Asks the engine for its models and chooses one, by default the one of last time. */
  async load(id) {
    try {
      this.#models = await this.#engine.models();
    } catch (error) {
      alertWriter(error.message);
      this.#choose([]);
      return;
    }
    this.choose(id ?? store.read() ?? "");
  }

  /** Chooses a model or an ensemble; the first model if this one is not here. */
  choose(id) {
    const names = id.split("+");
    const exact = this.#models.filter((model) => model.id === id);
    const parts = this.#models.filter((model) => names.includes(model.id));
    const [chosen] = [exact, parts, this.#models.slice(0, 1)].filter((found) => found.length);
    this.#choose(chosen ?? []);
  }

  #choose(models) {
    this.#chosen = models;
    if (this.id) store.write(this.id);
    byId("model-name").textContent = this.id || "no model";
    this.#list();
    byId("cards").replaceChildren(...this.#chosen.map(card));
    this.dispatchEvent(new Event("change"));
  }

  #toggle(model, isChosen) {
    const models = this.#models.filter((each) =>
      each === model ? isChosen : this.#chosen.includes(each),
    );
    this.#choose(models.length ? models : [model]);
    byId(`model-${this.#models.indexOf(model)}`).focus();
  }

  #list() {
    const rows = this.#models.map((model, index) => {
      const input = element("input", {
        type: "checkbox",
        id: `model-${index}`,
        checked: this.#chosen.includes(model),
        onchange: () => this.#toggle(model, input.checked),
      });
      return element("label", { class: "check" }, input, ` ${model.id}`);
    });
    const [legend] = byId("models").children;
    legend.textContent = rows.length > 1 ? "Choose one, or several for an ensemble" : "Model";
    byId("models").replaceChildren(legend, ...rows);
  }
}

/** What is known of a model. */
function card({ id, card }) {
  const { parameters, corpus, losses = {}, curve, vocabulary, speakers, report } = card;
  const facts = [
    ["Parameters", parameters?.toLocaleString("en")],
    ["Corpus", corpus],
    ["Speakers", speakers?.length || undefined],
    ...Object.entries(losses).map(([split, nats]) => [`Loss (${split})`, loss(nats)]),
    ["Vocabulary", vocabulary && `${[...vocabulary].length} characters`],
  ];
  const rows = facts
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, String(value))),
    );
  return element(
    "article",
    { class: "card" },
    element("h2", {}, id),
    element("dl", {}, ...rows),
    curve?.length > 1 ? lossCurve(curve) : "",
    link(report),
  );
}

const loss = (nats) => `${nats.toFixed(3)} nats · ${(nats / Math.LN2).toFixed(2)} bits`;

/** A link to the evaluation page; only to the web. */
function link(report) {
  if (!report || !URL.canParse(report, location.href)) return "";
  const { protocol, href } = new URL(report, location.href);
  if (protocol !== "http:" && protocol !== "https:") return "";
  return element("a", { href, target: "_blank", rel: "noopener" }, "Evaluation page");
}

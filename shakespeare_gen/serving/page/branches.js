/**
 * The branches of the text: in the panel as a list, in the toolbar as a position.
 */

import { byId, element } from "./dom.js";
import { announce } from "./notice.js";

const EXCERPT_CHARS = 200;
const CONTEXT_WORDS = 5;

export class Branches {
  #versions;

  constructor(versions) {
    this.#versions = versions;
    byId("branch-back").addEventListener("click", () => this.move(-1));
    byId("branch-forward").addEventListener("click", () => this.move(1));
  }

  /** Goes to the branch before or after the current one at the newest fork. */
  move(step) {
    const fork = this.#versions.forks.at(-1);
    if (!fork) return;
    const { branches, current } = fork;
    const index = (branches.indexOf(current) + step + branches.length) % branches.length;
    this.#versions.visit(branches[index]);
    announce(`Branch ${index + 1} of ${branches.length}: ${excerpt(branches[index])}`);
  }

  show() {
    const { forks } = this.#versions;
    const newest = forks.at(-1);
    byId("branch").hidden = !newest;
    if (newest) {
      const { branches, current } = newest;
      byId("branch-position").textContent = `${branches.indexOf(current) + 1}/${branches.length}`;
    }
    byId("branches").replaceChildren(...forks.reverse().map((fork) => this.#fork(fork)));
  }

  #fork({ branches, current }) {
    const items = branches.map((branch) => {
      const id = `branch-${branch.id}`;
      const onclick = () => {
        this.#versions.visit(branch);
        byId(id)?.focus();
      };
      const isCurrent = branch === current;
      const button = element(
        "button",
        { id, onclick, "aria-current": isCurrent ? "true" : null },
        element("span", {}, excerpt(branch)),
      );
      return element("li", {}, button);
    });
    const words = this.#versions.text.slice(0, current.at).split(/\s+/).filter(Boolean);
    const heading = words.length
      ? `After “${words.slice(-CONTEXT_WORDS).join(" ")}”`
      : "At the start";
    return element(
      "section",
      { class: "fork" },
      element("h2", {}, heading),
      element("ul", { class: "list" }, ...items),
    );
  }
}

function excerpt({ inserted }) {
  const text = inserted.trim().replaceAll(/\s+/g, " ").slice(0, EXCERPT_CHARS);
  return text || "(nothing)";
}

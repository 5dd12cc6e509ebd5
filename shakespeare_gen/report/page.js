"use strict";
// The text colored by loss: one span per token. The token that is pointed at, tapped, or chosen
// with the arrow keys is shown in the inspector, with the most likely tokens at its place.
const data = JSON.parse(document.getElementById("heatmap-data").textContent);
const box = document.getElementById("heatmap");
const inspector = document.getElementById("inspector");
const NAMES = { "\n": "⏎ line end", " ": "␣ space", "\t": "⇥ tab", "": "(part of a character)" };
const shown = (token) => NAMES[token] ?? token.replaceAll("\n", "⏎").replaceAll(" ", "␣");

const spans = data.tokens.map((token, i) => {
  const span = document.createElement("span");
  const level = Math.min(Math.floor(data.tenthsOfBits[i] / 10), 8);
  span.textContent = token;
  span.className = `h${level}${token === "\n" ? " end" : ""}`;
  span.dataset.i = i;
  return span;
});
box?.append(...spans);

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

// The most likely tokens at the place of token i: [{ token, percent }].
function candidates(i) {
  const first = i * data.numCandidates;
  return Array.from({ length: data.numCandidates }, (_, k) => ({
    token: data.vocabulary[data.candidates[first + k]],
    percent: data.thousandths[first + k] / 10,
  }));
}

function row({ token, percent }, isActual) {
  const made = element("li", "", isActual ? "actual" : "");
  const bar = element("i", "");
  bar.style.width = `${percent}%`;
  made.append(element("span", shown(token)), element("span", `${percent.toFixed(1)} %`), bar);
  return made;
}

// The bits are rounded, so the probability of a likely token is taken from the candidates.
function describe(i, likely) {
  const bits = data.tenthsOfBits[i] / 10;
  const known = likely[data.ranks[i]];
  const percent = known ? known.percent.toFixed(1) : (100 * 2 ** -bits).toPrecision(2);
  return `${bits.toFixed(1)} bits: it had a probability of ${percent} %.`;
}

let chosen = -1;
function choose(i) {
  if (i === chosen || !spans[i]) return;
  spans[chosen]?.classList.remove("chosen");
  spans[i].classList.add("chosen");
  chosen = i;
  const likely = candidates(i);
  const list = document.createElement("ol");
  list.append(...likely.map((found, k) => row(found, k === data.ranks[i])));
  inspector.replaceChildren(
    element("p", shown(data.tokens[i]), "token"),
    element("p", describe(i, likely)),
    element("p", "Most likely here:"),
    list,
  );
}

// The nearest token in the line of the box above (-1) or below (1).
function inNextLine(i, direction) {
  const { offsetTop: top, offsetLeft: left } = spans[i];
  let at = i;
  while (spans[at] && spans[at].offsetTop === top) at += direction;
  if (!spans[at]) return i;
  const line = spans[at].offsetTop;
  let best = at;
  for (; spans[at]?.offsetTop === line; at += direction) {
    const gap = (k) => Math.abs(spans[k].offsetLeft - left);
    if (gap(at) < gap(best)) best = at;
  }
  return best;
}

const MOVES = {
  ArrowRight: (i) => i + 1,
  ArrowLeft: (i) => i - 1,
  ArrowDown: (i) => inNextLine(i, 1),
  ArrowUp: (i) => inNextLine(i, -1),
  Home: () => 0,
  End: () => spans.length - 1,
};
box?.addEventListener("keydown", (event) => {
  const move = MOVES[event.key];
  if (!move || event.ctrlKey || event.metaKey || event.altKey || !spans.length) return;
  event.preventDefault();
  choose(chosen < 0 ? 0 : Math.min(Math.max(move(chosen), 0), spans.length - 1));
  const { offsetTop: top, offsetHeight: height } = spans[chosen];
  if (top < box.scrollTop || top + height > box.scrollTop + box.clientHeight) {
    box.scrollTop = top - box.clientHeight / 2;
  }
});
for (const kind of ["mouseover", "click"]) {
  box?.addEventListener(kind, (event) => choose(Number(event.target.dataset.i ?? -1)));
}

// A table that is wider than the page says so, and can be scrolled with the keyboard.
const watcher = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const isWide = target.scrollWidth > target.clientWidth + 1;
    target.parentElement.classList.toggle("is-wide", isWide);
    if (isWide) {
      target.tabIndex = 0;
      target.setAttribute("role", "region");
      target.setAttribute("aria-label", target.dataset.name);
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) target.removeAttribute(name);
    }
  }
});
document.querySelectorAll(".scroll").forEach((table) => watcher.observe(table));

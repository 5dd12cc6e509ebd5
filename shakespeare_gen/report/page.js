"use strict";
// The heatmap: one span per token, coloured by its bits; the most likely tokens on hover.
const data = JSON.parse(document.getElementById("heatmap-data").textContent);
const box = document.getElementById("heatmap");
const tip = document.getElementById("tip");
const shown = (token) => token.replaceAll("\n", "⏎").replaceAll(" ", "␣");
const spans = document.createDocumentFragment();
data.tokens.forEach((token, i) => {
  const span = document.createElement("span");
  span.textContent = token;
  if (token === "\n") span.className = "end";
  span.dataset.i = i;
  span.style.setProperty("--a", Math.min(data.tenthsOfBits[i] / 80, 1) * 0.85);
  spans.append(span);
});
box.append(spans);

function describe(i) {
  const bits = (data.tenthsOfBits[i] / 10).toFixed(1);
  const lines = [`${shown(data.tokens[i])}  ${bits} bits`];
  for (let k = 0; k < data.numCandidates; k++) {
    const at = i * data.numCandidates + k;
    const percent = (data.thousandths[at] / 10).toFixed(1).padStart(5);
    lines.push(`${percent} %  ${shown(data.vocabulary[data.candidates[at]])}`);
  }
  return lines.join("\n");
}

function show(event) {
  const i = event.target.dataset?.i;
  tip.style.display = i === undefined ? "none" : "block";
  if (i === undefined) return;
  tip.textContent = describe(Number(i));
  const { left, bottom, top } = event.target.getBoundingClientRect();
  tip.style.left = `${Math.min(left, innerWidth - tip.offsetWidth - 8)}px`;
  const below = bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.top = `${below ? bottom + 6 : top - tip.offsetHeight - 6}px`;
}
box.addEventListener("mouseover", show);
box.addEventListener("click", show);
box.addEventListener("mouseleave", () => { tip.style.display = "none"; });

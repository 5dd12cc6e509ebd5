/**
 * The validation loss over training, as a small chart.
 */

import { element, svg } from "./dom.js";

const [WIDTH, HEIGHT, LABELS] = [280, 96, 34];

/** @param {[number, number][]} curve steps and losses in nats */
export function lossCurve(curve) {
  const steps = curve.map(([step]) => step);
  const losses = curve.map(([, nats]) => nats);
  const [first, last] = [Math.min(...steps), Math.max(...steps)];
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const x = (step) => LABELS + ((step - first) / (last - first || 1)) * (WIDTH - LABELS - 6);
  const y = (nats) => 8 + ((high - nats) / (high - low || 1)) * (HEIGHT - 16);
  const points = curve.map(([step, nats]) => `${x(step).toFixed(1)},${y(nats).toFixed(1)}`);
  const grid = [high, low].flatMap((nats) => [
    svg("line", { class: "grid", x1: LABELS, x2: WIDTH, y1: y(nats), y2: y(nats) }),
    svg("text", { x: LABELS - 8, y: y(nats) + 4, "text-anchor": "end" }, nats.toFixed(2)),
  ]);
  const [best, bestNats] = curve.find(([, nats]) => nats === low);
  return element(
    "figure",
    { class: "curve" },
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" },
      ...grid,
      svg("polyline", { points: points.join(" ") }),
      svg("circle", { cx: x(best), cy: y(bestNats), r: 3 }),
    ),
    element("figcaption", {}, `Loss in nats over ${last.toLocaleString("en")} steps`),
  );
}

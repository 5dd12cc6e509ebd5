/**
 * Runs the worker of a page in Node: `node run_page.mjs PAGE [plain] < REQUESTS > ANSWERS`.
 *
 * REQUESTS is a JSON list of `{method, values}`; an answer is `{result, text, seconds}`, and the
 * first one that of loading the page. Arrays are in base64. With `plain`, it computes in plain
 * JavaScript.
 */

import { readFileSync } from "node:fs";
import vm from "node:vm";

const [path, option] = process.argv.slice(2);
const page = readFileSync(path, "utf8");
const waiting = new Map();

/** The text of an element that holds data. */
function contentOf(id) {
  const begin = page.indexOf(">", page.indexOf(` id="${id}">`)) + 1;
  return page.slice(begin, page.indexOf("</script>", begin));
}

const bytesIn = (id) => new Uint8Array(Buffer.from(contentOf(id), "base64"));

function ask(id, method, values) {
  const began = performance.now();
  let text = "";
  return new Promise((resolve, reject) => {
    waiting.set(id, (answer) => {
      if (answer.text !== undefined) text += answer.text;
      else if (answer.error !== undefined) reject(new Error(answer.error));
      else resolve({ ...answer, text, seconds: (performance.now() - began) / 1000 });
    });
    globalThis.onmessage({ data: { id, method, values } });
  });
}

globalThis.postMessage = (answer) => waiting.get(answer.id)(answer);
vm.runInThisContext(contentOf("worker"), { filename: "worker.js" });
const { description } = JSON.parse(contentOf("description"));
const code = option === "plain" ? new Uint8Array() : bytesIn("kernel");
const answers = [await ask(0, "load", { description, data: bytesIn("weights"), code })];
const requests = JSON.parse(readFileSync(0, "utf8"));
for (const [index, { method, values }] of requests.entries())
  answers.push(await ask(index + 1, method, values));
const encoded = (key, value) =>
  ArrayBuffer.isView(value) ? Buffer.from(value.buffer).toString("base64") : value;
process.stdout.write(JSON.stringify(answers, encoded));

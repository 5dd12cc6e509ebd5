/**
 * Long computations that leave the worker time for messages, so that they can be stopped.
 *
 *     for (const id of ids) {
 *       network.step(id, state);
 *       if (task.isDue) await task.pause(); // throws `Stopped` after `stop`
 *     }
 */

const SLICE_MS = 12;

export class Stopped extends Error {}

export class Task {
  #isStopped = false;
  #began = performance.now();

  /** Whether it has computed for long enough. */
  get isDue() {
    return performance.now() - this.#began > SLICE_MS;
  }

  /** Handles the messages that have arrived. */
  async pause() {
    await turn();
    if (this.#isStopped) throw new Stopped();
    this.#began = performance.now();
  }

  stop() {
    this.#isStopped = true;
  }
}

/** A turn of the event loop; `setTimeout` would wait for some milliseconds. */
function turn() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

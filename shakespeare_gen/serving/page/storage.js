/**
 * Values in the browser's storage, as JSON, under names that begin with the package's.
 *
 * A private window may refuse storage, and storage may be full: then nothing is read, and `write`
 * returns false.
 */

const PREFIX = "shakespeare_gen.";

/** A stored value: `read`, `write` and `remove`. */
export function stored(name) {
  const key = PREFIX + name;
  return {
    read() {
      try {
        return JSON.parse(localStorage.getItem(key));
      } catch {
        return null;
      }
    },
    write(value) {
      try {
        localStorage.setItem(key, JSON.stringify(value));
        return true;
      } catch {
        return false;
      }
    },
    remove() {
      try {
        localStorage.removeItem(key);
      } catch {
        // Nothing is stored.
      }
    },
  };
}

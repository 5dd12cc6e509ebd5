/**
 * The keys of the page. Each handler returns whether it did something; other keys keep their
 * ordinary meaning.
 */

/** The name of a key with its modifiers; Command counts as Control. */
function nameOf({ key, ctrlKey, metaKey, altKey, shiftKey }) {
  const name = key.length === 1 ? key.toLowerCase() : key;
  return [
    (ctrlKey || metaKey) && "Ctrl",
    altKey && "Alt",
    shiftKey && key.length > 1 && "Shift",
    shiftKey && (ctrlKey || metaKey) && key.length === 1 && "Shift",
    name === " " ? "Space" : name,
  ]
    .filter(Boolean)
    .join("-");
}

/**
 * @param {EventTarget} target
 * @param {Object<string, (event: KeyboardEvent) => boolean|void>} handlers by the name of the key, such as "Ctrl-Enter";
 *   one that returns false leaves the key alone
 */
export function onKeys(target, handlers) {
  target.addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented) return;
    const handler = handlers[nameOf(event)];
    if (handler && handler(event) !== false) event.preventDefault();
  });
}

const STEPS = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 };

/** Moves the focus along elements with the arrow keys, and around their ends. */
export function moveFocus(event, elements) {
  const step = STEPS[event.key];
  if (!step) return;
  const index = elements.indexOf(document.activeElement) + step;
  elements.at(index % elements.length).focus();
  event.preventDefault();
}

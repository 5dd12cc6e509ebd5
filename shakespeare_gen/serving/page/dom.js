/**
 * Builds elements. Text given as a child becomes a text node, never markup.
 *
 *     element("button", { onclick: save }, "Save")
 */

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {Object<string, any>} properties properties; names with a dash, `role` and `class` are
 *   attributes, and null leaves one out
 * @param {...(Node|string)} children
 */
export function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null) continue;
    if (name.includes("-") || name === "role" || name === "class" || name === "for")
      created.setAttribute(name, value);
    else created[name] = value;
  }
  created.append(...children);
  return created;
}

/** The same for SVG, where everything is an attribute. */
export function svg(tag, attributes = {}, ...children) {
  const created = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
  created.append(...children);
  return created;
}

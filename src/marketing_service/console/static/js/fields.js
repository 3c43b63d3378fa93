/** Fields of a form, and the API's errors at the field they are about. */

import { freshId, h, put } from "./dom.js";

/** What is said for a code, where the API's own sentence is one for programs. */
const WORDS = { required: "It is needed.", "too-short": "It is needed." };

/** A labelled input or text area, `{name, element, input, complain(text)}`. `name` is the API's. */
export function field(name, label, { hint = null, area = false, wide = false, ...properties } = {}) {
  const id = freshId(name);
  const about = `${id}-error${hint === null ? "" : ` ${id}-hint`}`;
  const input = h(area ? "textarea" : "input", { id, name, "aria-describedby": about, ...properties });
  const wrong = h("p", { class: "wrong", id: `${id}-error` });
  const needed = properties.required && h("span", { class: "needed", "aria-hidden": "true" }, " *");
  const element = h(
    "div",
    { class: wide ? "field wide" : "field" },
    h("label", { for: id }, label, needed),
    input,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
    wrong,
  );
  return {
    name,
    element,
    input,
    complain(text) {
      put(wrong, text);
      element.classList.toggle("invalid", text !== "");
      if (text === "") input.removeAttribute("aria-invalid");
      else input.setAttribute("aria-invalid", "true");
    },
  };
}

/**
 * Puts each error at the field it names (`to[1]` belongs to `to`), and takes the person to the first of them.
 * Returns the sentences that belong to none of these fields.
 */
export function complain(fields, errors) {
  const rest = [];
  const said = new Map();
  for (const { field: path, message, code } of errors) {
    const owner = fields.find(({ name }) => path === name || path.startsWith(`${name}.`) || path.startsWith(`${name}[`));
    if (owner === undefined) rest.push(`${path} ${message}`);
    else said.set(owner, [...(said.get(owner) ?? []), owner.words?.[code] ?? WORDS[code] ?? capital(message)]);
  }
  fields.forEach((one) => one.complain((said.get(one) ?? []).join(" ")));
  fields.find((one) => said.has(one))?.input.focus();
  return rest;
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

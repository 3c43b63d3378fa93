/** Form fields, and the API's errors next to the fields that they are about. */

import { uniqueId, h, setContent } from "./dom.js";

/** Error texts by code. They replace messages of the API that are written for programs. */
const MESSAGES = { required: "This field is required.", "too-short": "This field is required." };

/**
 * A labelled input, text area or selection: `{name, element, input, setError(text)}`. `name` is the name in the API. The
 * selection has `options`: pairs of a value and a label. A field may get `messages`, error texts by code, and `sentence`, a
 * function that makes a sentence of any other message.
 */
export function field(name, label, { hint = null, area = false, wide = false, options = null, value = "", ...properties } = {}) {
  const id = uniqueId(name);
  const describedBy = `${id}-error${hint === null ? "" : ` ${id}-hint`}`;
  const choices = options?.map(([code, text]) => h("option", { value: code }, text));
  const kind = choices ? "select" : area ? "textarea" : "input";
  const input = h(kind, { id, name, "aria-describedby": describedBy, ...properties }, choices);
  input.value = value;
  const errorText = h("p", { class: "wrong", id: `${id}-error` });
  const requiredMark = properties.required && h("span", { class: "required-mark", "aria-hidden": "true" }, " *");
  const element = h(
    "div",
    { class: wide ? "field wide" : "field" },
    h("label", { for: id }, label, requiredMark),
    input,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
    errorText,
  );
  return {
    name,
    element,
    input,
    setError(text) {
      setContent(errorText, text);
      element.classList.toggle("invalid", text !== "");
      if (text === "") input.removeAttribute("aria-invalid");
      else input.setAttribute("aria-invalid", "true");
    },
  };
}

/** What the console calls the fields of the API. */
const LABELS = { htmlBody: "HTML", textBody: "plain text", fromName: "from name", fromEmail: "from email", replyTo: "reply to", timeZone: "time zone" };
/** A field, with the colon that some messages have after it. */
const API_NAME = new RegExp(`\\b(${Object.keys(LABELS).join("|")})\\b:?`, "g");
const FOR_PROGRAMS = / Read the report under \/check, .*/;

/** A message of the API in the words of the console. */
export function apiNamesAsLabels(message) {
  return message.replace(API_NAME, (_, name) => LABELS[name]).replace(FOR_PROGRAMS, " The check on this page lists them.");
}

/**
 * Shows each error at the field that it names (`to[1]` belongs to `to`), and focuses the first one. Returns the texts of
 * the errors that belong to none of these fields.
 */
export function showErrors(fields, errors) {
  const others = [];
  const messages = new Map();
  for (const { field: path, message, code } of errors) {
    const owner = fields.find(({ name }) => path === name || path.startsWith(`${name}.`) || path.startsWith(`${name}[`));
    if (owner === undefined) others.push(apiNamesAsLabels(`${path} ${message}`));
    else messages.set(owner, [...(messages.get(owner) ?? []), owner.messages?.[code] ?? MESSAGES[code] ?? (owner.sentence ?? capitalise)(apiNamesAsLabels(message))]);
  }
  fields.forEach((one) => one.setError((messages.get(one) ?? []).join(" ")));
  fields.find((one) => messages.has(one))?.input.focus();
  return others;
}

/** Shows the errors of a problem at their fields. Returns what is left to say, or null if the problem names no field. */
export function showProblem(fields, { errors = [] }) {
  const others = showErrors(fields, errors);
  if (errors.length === 0) return null;
  return others.length > 0 ? others.join(" ") : "Correct the marked fields.";
}

export const capitalise = (text) => text.charAt(0).toUpperCase() + text.slice(1);

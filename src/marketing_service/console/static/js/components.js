/** What more than one screen is made of. */

import { Problem } from "./api.js";
import { freshId, h, icon, put } from "./dom.js";
import { CAMPAIGN_STATUS, SEND_STATUS } from "./format.js";

/** A state, as a coloured word. */
export function badge(status, note) {
  const word = CAMPAIGN_STATUS[status] ?? SEND_STATUS[status] ?? status;
  return h("span", { class: `badge ${status.toLowerCase()}` }, note ? `${word}, ${note}` : word);
}

/** A figure on a card. `details`, or each of them, are shown small below it. */
export function figure(label, value, { details = null, tone = "", href = null } = {}) {
  const title = href === null ? label : h("a", { href }, label);
  return h(
    "div",
    { class: `figure ${tone}` },
    h("dt", {}, title),
    h("dd", {}, h("strong", {}, value), [details].flat().filter(Boolean).map((line) => h("small", {}, line))),
  );
}

/** A card with a heading; `actions` stand at its right. */
export function card(title, content, { actions = null, level = "h2", id = freshId("card") } = {}) {
  const head = h("div", { class: "card-head" }, h(level, { id }, title), actions && h("div", { class: "actions" }, actions));
  return h("section", { class: "card", "aria-labelledby": id }, head, content);
}

export function button(label, act, { tone = "", drawing = null, ...properties } = {}) {
  return h("button", { type: "button", class: `button ${tone}`, onclick: act, ...properties }, drawing && icon(drawing), label);
}

/** A line to be noticed. `tone`: `danger`, `warning`, `good` or none. */
export function notice(content, { tone = "", role = null } = {}) {
  return h("div", { class: `notice ${tone}`, role }, h("div", {}, content));
}

export function loading() {
  return h("div", { class: "loading", role: "status" }, h("span", { class: "spinner" }), "Loading …");
}

/** Why something could not be shown, with the means to try again. */
export function failure(error, again) {
  const [title, text] = explained(error);
  const id = error instanceof Problem && error.requestId;
  return h(
    "section",
    { class: "message", role: "alert" },
    h("span", { class: "drawing" }, icon("alert")),
    h("h1", { tabindex: "-1" }, title),
    h("p", {}, text),
    id && h("p", { class: "quiet" }, "Request ", h("code", {}, id)),
    h("p", { class: "actions" }, button("Try again", again, { tone: "primary", drawing: "refresh" })),
  );
}

function explained(error) {
  if (!(error instanceof Problem)) return ["This cannot be shown", error.message];
  if (error.status === 404) return ["Not found", `${error.message} It may have been deleted.`];
  return [error.title || "This cannot be shown", error.message];
}

/** Says something, in the corner and to whoever listens. */
export function say(text, { tone = "good" } = {}) {
  const toast = h("p", { class: `toast ${tone}` }, text);
  document.querySelector(".toasts").append(toast);
  setTimeout(() => toast.remove(), 8000);
}

/** Says how something goes on, to whoever listens alone. */
export function mention(text) {
  put(document.getElementById("progress"), text);
}

/** The sentence of a failure, for a place that has little room. */
export const sentence = (error) => error.message;

/**
 * Asks in a dialog, and does it there: `act`, where given, is awaited while the dialog is open, and what it throws is
 * shown in it. Returns whether it was confirmed and done.
 */
export function ask({ title, content, confirm, refuse = "Cancel", tone = "primary", act = null, mended = null }) {
  const heading = freshId("dialog");
  const wrong = h("div", { role: "alert" });
  const yes = h("button", { class: `button ${tone}`, type: "submit" }, confirm);
  const no = h("button", { class: "button", type: "button", onclick: () => dialog.close() }, refuse);
  const form = h(
    "form",
    { method: "dialog", novalidate: true, onsubmit: submitted },
    h("h2", { id: heading }, title),
    h("div", { class: "dialog-content" }, content),
    wrong,
    h("div", { class: "actions" }, no, yes),
  );
  const dialog = h("dialog", { "aria-labelledby": heading }, form);
  let done = false;

  async function submitted(event) {
    event.preventDefault();
    yes.disabled = true;
    yes.setAttribute("aria-busy", "true");
    try {
      await act?.();
      done = true;
      dialog.close();
    } catch (error) {
      put(wrong, notice(sentence(error), { tone: "danger" }), mended?.(error));
    }
    yes.disabled = false;
    yes.removeAttribute("aria-busy");
  }

  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
  });
}

/** One of several, or any of them (`many`), as a group of pills. `options`: `[value, label, note]`. */
export function pills(legend, options, chosen, changed, { many = false } = {}) {
  const name = freshId("pills");
  const inputs = options.map(([value, label, note]) => {
    const input = h("input", { type: many ? "checkbox" : "radio", name, value, onchange: report });
    input.checked = chosen.includes(value);
    const counted = h("span", { class: "count", hidden: note === undefined }, note);
    return h("label", { class: "pill" }, input, h("span", {}, label), counted);
  });
  const group = h("fieldset", { class: "pills" }, h("legend", { class: "unseen" }, legend), inputs);

  function report() {
    changed([...group.querySelectorAll("input:checked")].map((input) => input.value));
  }

  return group;
}

export function searchField(label, value, changed) {
  const id = freshId("search");
  const input = h("input", { type: "search", id, placeholder: label, value, autocomplete: "off", spellcheck: "false" });
  input.addEventListener("input", () => changed(input.value.trim()));
  return h("div", { class: "search" }, h("label", { for: id, class: "unseen" }, label), icon("search"), input);
}

/** The button below a list that is longer than what is shown. */
export function moreButton(load) {
  return button("Show more", load, { tone: "more" });
}

/** Hands the browser a file to keep. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Does something behind a button: it is busy meanwhile, and what goes wrong is said. */
export async function busy(target, act) {
  target.disabled = true;
  target.setAttribute("aria-busy", "true");
  try {
    return await act();
  } catch (error) {
    say(sentence(error), { tone: "danger" });
    return null;
  } finally {
    target.disabled = false;
    target.removeAttribute("aria-busy");
  }
}

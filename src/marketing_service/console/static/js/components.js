/** Components that several screens use. */

import { Problem } from "./api.js";
import { uniqueId, h, icon, setContent } from "./dom.js";
import { CAMPAIGN_STATUS, SEND_STATUS } from "./format.js";

/** A state as a coloured label. */
export function badge(status, note) {
  const word = CAMPAIGN_STATUS[status] ?? SEND_STATUS[status] ?? status;
  return h("span", { class: `badge ${status.toLowerCase()}` }, note ? `${word}, ${note}` : word);
}

/** A number on a card. `details` (a text, or an array of texts) is shown in small print below it. */
export function statCard(label, value, { details = null, tone = "", href = null } = {}) {
  const title = href === null ? label : h("a", { href }, label);
  return h(
    "div",
    { class: `stat ${tone}` },
    h("dt", {}, title),
    h("dd", {}, h("strong", {}, value), [details].flat().filter(Boolean).map((line) => h("small", {}, line))),
  );
}

/** A card with a heading. `actions` are shown at the right of the heading. */
export function card(title, content, { actions = null, level = "h2", id = uniqueId("card") } = {}) {
  const head = h("div", { class: "card-head" }, h(level, { id }, title), actions && h("div", { class: "actions" }, actions));
  return h("section", { class: "card", "aria-labelledby": id }, head, content);
}

export function button(label, action, { tone = "", icon: iconName = null, ...properties } = {}) {
  return h("button", { type: "button", class: `button ${tone}`, onclick: action, ...properties }, iconName && icon(iconName), label);
}

/** A highlighted message. `tone`: `danger`, `warning`, `good` or empty. */
export function notice(content, { tone = "", role = null } = {}) {
  return h("div", { class: `notice ${tone}`, role }, h("div", {}, content));
}

export function loading() {
  return h("div", { class: "loading", role: "status" }, h("span", { class: "spinner" }), "Loading …");
}

/** An error with a button that tries again. */
export function errorMessage(error, retry) {
  const [title, text] = describe(error);
  const id = error instanceof Problem && error.requestId;
  return h(
    "section",
    { class: "message", role: "alert" },
    h("span", { class: "message-icon" }, icon("alert")),
    h("h1", { tabindex: "-1" }, title),
    h("p", {}, text),
    id && h("p", { class: "quiet" }, "Request ID ", h("code", {}, id)),
    h("p", { class: "actions" }, button("Try again", retry, { tone: "primary", icon: "refresh" })),
  );
}

function describe(error) {
  if (!(error instanceof Problem)) return ["This page could not be loaded", error.message];
  if (error.status === 404) return ["Not found", `${error.message} It may have been deleted.`];
  return [error.title || "This page could not be loaded", error.message];
}

/** Shows a short message in the corner of the page. Screen readers read it aloud. */
export function toast(text, { tone = "good" } = {}) {
  const message = h("p", { class: `toast ${tone}` }, text);
  document.querySelector(".toasts").append(message);
  setTimeout(() => message.remove(), 8000);
}

/** Tells screen readers a message that is not visible on the page. */
export function announce(text) {
  setContent(document.getElementById("announcer"), text);
}

/**
 * Opens a dialog that asks for confirmation. After the confirmation it awaits `action` while the dialog stays open. An
 * error of `action` is shown in the dialog, with the text that `onError` returns for it, if any. Returns whether the user
 * confirmed and `action` succeeded.
 */
export function confirmDialog({ title, content, confirmLabel, cancelLabel = "Cancel", tone = "primary", action = null, onError = null }) {
  const headingId = uniqueId("dialog");
  const errorBox = h("div", { role: "alert" });
  const confirmButton = h("button", { class: `button ${tone}`, type: "submit" }, confirmLabel);
  const cancelButton = h("button", { class: "button", type: "button", onclick: () => dialog.close() }, cancelLabel);
  const form = h(
    "form",
    { method: "dialog", novalidate: true, onsubmit: onSubmit },
    h("h2", { id: headingId }, title),
    h("div", { class: "dialog-content" }, content),
    errorBox,
    h("div", { class: "actions" }, cancelButton, confirmButton),
  );
  const dialog = h("dialog", { "aria-labelledby": headingId }, form);
  let done = false;

  async function onSubmit(event) {
    event.preventDefault();
    confirmButton.disabled = true;
    confirmButton.setAttribute("aria-busy", "true");
    try {
      await action?.();
      done = true;
      dialog.close();
    } catch (error) {
      setContent(errorBox, notice(onError?.(error) ?? error.message, { tone: "danger" }));
    }
    confirmButton.disabled = false;
    confirmButton.removeAttribute("aria-busy");
  }

  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      // The action may have drawn the page again, without the button that opened the dialog.
      if (document.activeElement === document.body) document.querySelector("main h1")?.focus();
      resolve(done);
    });
  });
}

/** A group of options to select one, or several with `many`. `options`: arrays of `[value, label, count]`. */
export function pills(legend, options, chosen, onChange, { many = false } = {}) {
  const name = uniqueId("pills");
  const inputs = options.map(([value, label, note]) => {
    const input = h("input", { type: many ? "checkbox" : "radio", name, value, onchange: report });
    input.checked = chosen.includes(value);
    const counted = h("span", { class: "count", hidden: note === undefined }, note);
    return h("label", { class: "pill" }, input, h("span", {}, label), counted);
  });
  const group = h("fieldset", { class: "pills" }, h("legend", { class: "visually-hidden" }, legend), inputs);

  function report() {
    onChange([...group.querySelectorAll("input:checked")].map((input) => input.value));
  }

  return group;
}

export function searchField(label, value, onChange) {
  const id = uniqueId("search");
  const input = h("input", { type: "search", id, placeholder: label, value, autocomplete: "off", spellcheck: "false" });
  input.addEventListener("input", () => onChange(input.value.trim()));
  return h("div", { class: "search" }, h("label", { for: id, class: "visually-hidden" }, label), icon("search"), input);
}

/** The button below a list that has more pages. */
export function moreButton(load) {
  return button("Show more", load, { tone: "more" });
}

/** Downloads a Blob as a file. */
export function downloadFile(blob, name) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Runs `action` with the button disabled. Shows an error as a toast, and then returns null. */
export async function withBusyButton(target, action) {
  target.disabled = true;
  target.setAttribute("aria-busy", "true");
  try {
    return await action();
  } catch (error) {
    toast(error.message, { tone: "danger" });
    return null;
  } finally {
    target.disabled = false;
    target.removeAttribute("aria-busy");
  }
}

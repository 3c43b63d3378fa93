/** The choice of recipients: all contacts, or those with some of the CRM's statuses. Shows the current number. */

import * as api from "./api.js";
import { uniqueId, h, setContent } from "./dom.js";
import { people } from "./format.js";

/** `{name, element, input, value(), setError(text), sample()}`. `changed` is called when the audience changes. */
export function recipients(audience, statuses, changed) {
  const group = uniqueId("audience");
  const all = h("input", { type: "radio", name: group, value: "ALL", onchange: onSelect });
  const some = h("input", { type: "radio", name: group, value: "BY_STATUS", onchange: onSelect });
  const known = statuses ?? [];
  // A status that the CRM no longer has is shown too, so that the user can remove it.
  const removed = audience.statuses.filter((value) => !known.some((status) => status.value === value));
  const ticks = [...known, ...removed.map((value) => ({ value, label: `${value} (not in the CRM)` }))].map((status) => {
    const input = h("input", { type: "checkbox", value: status.value, onchange: onSelect });
    input.checked = audience.statuses.includes(status.value);
    return h("label", { class: "tick" }, input, status.label);
  });
  const none = statuses === null ? "The CRM is not responding, so its statuses cannot be shown. Try again later." : "The CRM has no statuses.";
  const list = h("fieldset", { class: "ticks" }, h("legend", { class: "visually-hidden" }, "Statuses"), ticks.length > 0 ? ticks : h("p", { class: "hint" }, none));
  const errorText = h("p", { class: "wrong", id: `${group}-error` });
  const countText = h("p", { class: "audience-now", role: "status" });
  let controller = null;
  let sample = [];

  (audience.type === "ALL" ? all : some).checked = true;
  const element = h(
    "fieldset",
    { class: "recipients", "aria-describedby": errorText.id },
    h("legend", { class: "visually-hidden" }, "Recipients"),
    h("label", { class: "choice" }, all, h("span", {}, h("b", {}, "All contacts"), h("small", {}, "Every contact with an email address who has not opted out."))),
    h("label", { class: "choice" }, some, h("span", {}, h("b", {}, "By status"), h("small", {}, "Contacts with one of the statuses below."))),
    list,
    errorText,
    countText,
  );

  function value() {
    if (all.checked) return { type: "ALL", statuses: [] };
    return { type: "BY_STATUS", statuses: [...list.querySelectorAll("input:checked")].map((input) => input.value) };
  }

  function onSelect() {
    setError("");
    count();
    changed();
  }

  async function count() {
    list.hidden = all.checked;
    controller?.abort();
    const audience = value();
    if (audience.type === "BY_STATUS" && audience.statuses.length === 0) {
      setContent(countText, "No one would receive this campaign now.");
      return;
    }
    controller = new AbortController();
    setContent(countText, "Counting …");
    try {
      const found = await api.audience(audience, controller.signal);
      ({ sample } = found);
      setContent(countText, h("b", {}, people(found.count)), " would receive this campaign now.");
    } catch (error) {
      if (error.name !== "AbortError") setContent(countText, `The number of recipients is not available now. ${error.message}`);
    }
  }

  function setError(text) {
    setContent(errorText, text);
    element.classList.toggle("invalid", text !== "");
  }

  count();
  const messages = { "too-short": "Choose at least one status." };
  return { name: "audience", element, input: all, messages, value, setError, sample: () => sample };
}

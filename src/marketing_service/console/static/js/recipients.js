/** Who gets it: everybody, or the contacts of some of the CRM's statuses; and how many that is now. */

import * as api from "./api.js";
import { freshId, h, put } from "./dom.js";
import { people } from "./format.js";

/** `{name, element, input, value(), complain(text), sample()}`; `changed` is called when another audience is chosen. */
export function recipients(audience, statuses, changed) {
  const group = freshId("audience");
  const all = h("input", { type: "radio", name: group, value: "ALL", onchange: chosen });
  const some = h("input", { type: "radio", name: group, value: "BY_STATUS", onchange: chosen });
  const known = statuses ?? [];
  // A status the CRM has no more is shown, so that it can be taken away.
  const gone = audience.statuses.filter((value) => !known.some((status) => status.value === value));
  const ticks = [...known, ...gone.map((value) => ({ value, label: `${value} (not in the CRM)` }))].map((status) => {
    const input = h("input", { type: "checkbox", value: status.value, onchange: chosen });
    input.checked = audience.statuses.includes(status.value);
    return h("label", { class: "tick" }, input, status.label);
  });
  const none = statuses === null ? "The CRM does not answer, so its statuses cannot be shown now." : "The CRM has no statuses.";
  const list = h("fieldset", { class: "ticks" }, h("legend", { class: "unseen" }, "Statuses"), ticks.length > 0 ? ticks : h("p", { class: "hint" }, none));
  const wrong = h("p", { class: "wrong", id: `${group}-error` });
  const now = h("p", { class: "audience-now", role: "status" });
  let asking = null;
  let sample = [];

  (audience.type === "ALL" ? all : some).checked = true;
  const element = h(
    "fieldset",
    { class: "recipients", "aria-describedby": wrong.id },
    h("legend", { class: "unseen" }, "Recipients"),
    h("label", { class: "choice" }, all, h("span", {}, h("b", {}, "All contacts"), h("small", {}, "Everybody with an address who has not opted out."))),
    h("label", { class: "choice" }, some, h("span", {}, h("b", {}, "By status"), h("small", {}, "Only contacts with one of these."))),
    list,
    wrong,
    now,
  );

  function value() {
    if (all.checked) return { type: "ALL", statuses: [] };
    return { type: "BY_STATUS", statuses: [...list.querySelectorAll("input:checked")].map((input) => input.value) };
  }

  function chosen() {
    complain("");
    count();
    changed();
  }

  async function count() {
    list.hidden = all.checked;
    asking?.abort();
    const audience = value();
    if (audience.type === "BY_STATUS" && audience.statuses.length === 0) {
      put(now, "Nobody would get it now.");
      return;
    }
    asking = new AbortController();
    put(now, "Counting …");
    try {
      const found = await api.audience(audience, asking.signal);
      ({ sample } = found);
      put(now, h("b", {}, people(found.count)), " would get it now.");
    } catch (error) {
      if (error.name !== "AbortError") put(now, `How many that is cannot be told now: ${error.message}`);
    }
  }

  function complain(text) {
    put(wrong, text);
    element.classList.toggle("invalid", text !== "");
  }

  count();
  const words = { "too-short": "Choose at least one status." };
  return { name: "audience", element, input: all, words, value, complain, sample: () => sample };
}

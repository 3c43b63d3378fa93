/** The suppression list: addresses from delivery reports, added by a user, or imported from a CSV file. */

import * as api from "./api.js";
import { h, icon, setContent, debounce } from "./dom.js";
import { showErrors, field } from "./fields.js";
import { count, date, reasonText } from "./format.js";
import { PAGE, paged } from "./paging.js";
import { confirmDialog, withBusyButton, button, notice, pills, downloadFile, toast, searchField } from "./components.js";
import { to } from "./router.js";

const REASONS = ["HARD_BOUNCE", "SOFT_BOUNCES", "MANUAL"];
const COLUMNS = ["Address", "Reason", "Source", "Since", ""];
const SHOWN_LINES = 10;

export async function suppressionsScreen(_, query) {
  const filters = { reason: REASONS.includes(query.get("reason")) ? query.get("reason") : "", q: query.get("q") ?? "" };
  const first = await api.nullIfNotFound(api.suppressions({ ...filters, limit: PAGE }));
  if (first === null) return noSuppressionList();

  const body = h("tbody", {});
  const footer = h("div", { class: "below" });
  const table = h(
    "table",
    { class: "log" },
    h("caption", { class: "visually-hidden" }, "Suppressed addresses"),
    h("thead", {}, h("tr", {}, COLUMNS.map((label) => h("th", { scope: "col" }, label || h("span", { class: "visually-hidden" }, "Remove"))))),
    body,
  );
  const csv = button("Download CSV", download, { icon: "download" });

  function row(item) {
    const where = item.campaignId === null ? reasonText(item.origin) : h("a", { href: to(`/campaigns/${item.campaignId}`) }, reasonText(item.origin));
    return h(
      "tr",
      {},
      h("th", { scope: "row", class: "address", tabindex: "-1" }, item.email, item.note && h("small", {}, item.note)),
      h("td", { "data-label": "Reason" }, reasonText(item.reason)),
      h("td", { "data-label": "Source" }, where),
      h("td", { "data-label": "Since" }, date(item.createdAt)),
      h("td", { class: "row-end" }, button("Remove", () => remove(item), { tone: "small", "aria-label": `Remove ${item.email}` })),
    );
  }

  async function remove(item) {
    const done = await confirmDialog({
      title: `Remove ${item.email}?`,
      content: h("p", {}, "From the next launch on, this address can be mailed again, unless the contact has opted out."),
      confirmLabel: "Remove",
      tone: "danger",
      action: () => api.unsuppress(item.id),
    });
    if (!done) return;
    toast(`${item.email} can be mailed again.`);
    await list.filter();
  }

  async function add() {
    const email = field("email", "Email address", { type: "email", required: true, autocomplete: "off" });
    const note = field("note", "Note", { hint: "Optional. Why this address is suppressed." });
    const done = await confirmDialog({
      title: "Suppress an address",
      content: [h("p", {}, "Campaigns of your organisation will no longer be sent to this address."), email.element, note.element],
      confirmLabel: "Suppress",
      action: () => api.suppress({ email: email.input.value.trim(), ...(note.input.value.trim() && { note: note.input.value.trim() }) }),
      onError: (error) => showErrors([email, note], error.errors ?? []) && null,
    });
    if (!done) return;
    toast(`${email.input.value.trim()} is suppressed.`);
    await list.filter();
  }

  async function importCsv() {
    const file = field("file", "CSV file", { type: "file", accept: ".csv,text/csv", hint: "The header row needs a column “email”. A column “note” is optional. At most 3 MB." });
    const done = await confirmDialog({
      title: "Import addresses from a CSV file",
      content: file.element,
      confirmLabel: "Import",
      action: async () => {
        if (file.input.files.length === 0) throw new Error("Choose a file first.");
        imported = await api.suppressCsv(file.input.files[0]);
      },
    });
    if (!done) return;
    setContent(result, importResult(imported));
    await list.filter();
  }

  let imported = null;
  const result = h("div", { role: "status" });

  async function download() {
    const blob = await withBusyButton(csv, () => api.suppressionsCsv(filters));
    if (blob !== null) downloadFile(blob, "suppressions.csv");
  }

  const list = paged({
    first,
    filters,
    load: api.suppressions,
    rows: body,
    footer,
    row,
    plural: "addresses",
    empty: () => h("p", { class: "empty" }, filters.q || filters.reason ? "No addresses match your filters." : "No addresses are suppressed."),
  });
  const options = [["", "All"], ...REASONS.map((code) => [code, reasonText(code)])];
  return {
    title: "Suppressions",
    element: h(
      "div",
      {},
      h(
        "div",
        { class: "page-head" },
        h("div", {}, h("h1", { tabindex: "-1" }, "Suppressions"), h("p", { class: "quiet" }, "No campaign is sent to these addresses, even if the CRM allows it.")),
        h("div", { class: "actions" }, csv, button("Import CSV", importCsv, { icon: "upload" }), button("Suppress an address", add, { tone: "primary", icon: "plus" })),
      ),
      result,
      h("div", { class: "filters" }, pills("Show addresses", options, [filters.reason], ([code]) => list.filter({ reason: code })), searchField("Address starts with", filters.q, debounce((q) => list.filter({ q }), 250))),
      h("section", { class: "card flush", "aria-label": "Suppressed addresses" }, table, footer),
    ),
    leave: list.stop,
  };
}

function importResult({ added, known, malformed }) {
  const bad = malformed.slice(0, SHOWN_LINES).map(({ line, value }) => h("li", {}, `Line ${line}: `, h("code", {}, value)));
  const more = malformed.length > SHOWN_LINES && h("li", {}, `and ${malformed.length - SHOWN_LINES} more`);
  const sum = `${count(added, "address", "addresses")} added, ${known} already in the list.`;
  if (malformed.length === 0) return notice(sum, { tone: "good" });
  return notice([sum, ` ${count(malformed.length, "line has", "lines have")} no valid address:`, h("ul", {}, bad, more)], { tone: "warning" });
}

function noSuppressionList() {
  const text = h("p", {}, "This installation does not have a suppression list.");
  return { title: "Suppressions", element: h("section", { class: "message" }, h("span", { class: "message-icon" }, icon("mail")), h("h1", { tabindex: "-1" }, "Suppressions"), text) };
}

/** The suppression list: addresses from delivery reports, added by a user, or imported from a CSV file. */

import * as api from "./api.js";
import { h, icon, debounce } from "./dom.js";
import { showProblem, field } from "./fields.js";
import { date, reasonText } from "./format.js";
import { announceResult, importDialog, importPanel } from "./imports.js";
import { PAGE, paged } from "./paging.js";
import { confirmDialog, withBusyButton, button, pills, downloadFile, toast, searchField } from "./components.js";
import { to } from "./router.js";

const REASONS = ["HARD_BOUNCE", "SOFT_BOUNCES", "MANUAL"];
const COLUMNS = ["Address", "Reason", "Source", "Since", ""];

/** The filters have the import that is shown, too, which is no filter of the API. */
const load = ({ import: _, ...query }, signal) => api.suppressions(query, signal);

export async function suppressionsScreen(_, query) {
  const filters = { reason: REASONS.includes(query.get("reason")) ? query.get("reason") : "", q: query.get("q") ?? "", import: query.get("import") ?? "" };
  const first = await api.nullIfNotFound(load({ ...filters, limit: PAGE }));
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
      onError: (error) => showProblem([email, note], error),
    });
    if (!done) return;
    toast(`${email.input.value.trim()} is suppressed.`);
    await list.filter();
  }

  async function importCsv() {
    const imported = await importDialog();
    if (imported === null) return;
    panel.show(imported);
    // The URL names the import, so that it is shown again when the page is reloaded.
    await list.filter({ import: imported.id });
    if (imported.finished) announceResult(imported);
  }

  const panel = importPanel({ onFinished: () => list.filter(), onClose: () => list.filter({ import: "" }) });

  async function download() {
    const blob = await withBusyButton(csv, () => api.suppressionsCsv({ reason: filters.reason, q: filters.q }));
    if (blob !== null) downloadFile(blob, "suppressions.csv");
  }

  const list = paged({
    first,
    filters,
    load,
    rows: body,
    footer,
    row,
    plural: "addresses",
    empty: () => h("p", { class: "empty" }, filters.q || filters.reason ? "No addresses match your filters." : "No addresses are suppressed."),
  });
  panel.open(filters.import);
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
      panel.element,
      h("div", { class: "filters" }, pills("Show addresses", options, [filters.reason], ([code]) => list.filter({ reason: code })), searchField("Address starts with", filters.q, debounce((q) => list.filter({ q }), 250))),
      h("section", { class: "card flush", "aria-label": "Suppressed addresses" }, table, footer),
    ),
    leave: () => {
      panel.leave();
      list.stop();
    },
  };
}

function noSuppressionList() {
  const text = h("p", {}, "This installation does not have a suppression list.");
  return { title: "Suppressions", element: h("section", { class: "message" }, h("span", { class: "message-icon" }, icon("mail")), h("h1", { tabindex: "-1" }, "Suppressions"), text) };
}

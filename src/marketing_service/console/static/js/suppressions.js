/** The addresses that are not to be mailed: by delivery reports, by a person, or out of a file. */

import * as api from "./api.js";
import { h, icon, put, settled } from "./dom.js";
import { complain, field } from "./fields.js";
import { count, day, reason } from "./format.js";
import { PAGE, paged } from "./paging.js";
import { ask, busy, button, notice, pills, save, say, searchField } from "./components.js";
import { to } from "./router.js";

const REASONS = ["HARD_BOUNCE", "SOFT_BOUNCES", "MANUAL"];
const COLUMNS = ["Address", "Why", "How", "Since", ""];
const SHOWN_LINES = 10;

export async function suppressionsScreen(_, query) {
  const only = { reason: REASONS.includes(query.get("reason")) ? query.get("reason") : "", q: query.get("q") ?? "" };
  const first = await api.orNull(api.suppressions({ ...only, limit: PAGE }));
  if (first === null) return notHere();

  const body = h("tbody", {});
  const below = h("div", { class: "below" });
  const table = h(
    "table",
    { class: "log" },
    h("caption", { class: "unseen" }, "Suppressed addresses"),
    h("thead", {}, h("tr", {}, COLUMNS.map((label) => h("th", { scope: "col" }, label || h("span", { class: "unseen" }, "Remove"))))),
    body,
  );
  const csv = button("Download CSV", download, { drawing: "download" });

  function row(item) {
    const where = item.campaignId === null ? reason(item.origin) : h("a", { href: to(`/campaigns/${item.campaignId}`) }, reason(item.origin));
    return h(
      "tr",
      {},
      h("th", { scope: "row", class: "address", tabindex: "-1" }, item.email, item.note && h("small", {}, item.note)),
      h("td", { "data-label": "Why" }, reason(item.reason)),
      h("td", { "data-label": "How" }, where),
      h("td", { "data-label": "Since" }, day(item.createdAt)),
      h("td", { class: "row-end" }, button("Remove", () => remove(item), { tone: "small", "aria-label": `Remove ${item.email}` })),
    );
  }

  async function remove(item) {
    const done = await ask({
      title: `Remove ${item.email}?`,
      content: h("p", {}, "It can be mailed again from the next launch on, unless its contact has opted out."),
      confirm: "Remove",
      tone: "danger",
      act: () => api.unsuppress(item.id),
    });
    if (!done) return;
    say(`${item.email} can be mailed again.`);
    await list.filter();
  }

  async function add() {
    const email = field("email", "Address", { type: "email", required: true, autocomplete: "off" });
    const remark = field("note", "Note", { hint: "Why, for whoever reads this later." });
    const done = await ask({
      title: "Suppress an address",
      content: [h("p", {}, "No campaign of your organisation is sent to it any more."), email.element, remark.element],
      confirm: "Suppress",
      act: () => api.suppress({ email: email.input.value.trim(), ...(remark.input.value.trim() && { note: remark.input.value.trim() }) }),
      mended: (error) => complain([email, remark], error.errors ?? []) && null,
    });
    if (!done) return;
    say(`${email.input.value.trim()} is suppressed.`);
    await list.filter();
  }

  async function read() {
    const file = field("file", "CSV file", { type: "file", accept: ".csv,text/csv", hint: "With a header row that has a column “email”, and perhaps one “note”; at most 3 MB." });
    const done = await ask({
      title: "Suppress the addresses of a file",
      content: file.element,
      confirm: "Read the file",
      act: async () => {
        if (file.input.files.length === 0) throw new Error("Choose a file first.");
        told = await api.suppressCsv(file.input.files[0]);
      },
    });
    if (!done) return;
    put(result, outcome(told));
    await list.filter();
  }

  let told = null;
  const result = h("div", { role: "status" });

  async function download() {
    const blob = await busy(csv, () => api.suppressionsCsv(only));
    if (blob !== null) save(blob, "suppressions.csv");
  }

  const list = paged({
    first,
    only,
    load: api.suppressions,
    rows: body,
    below,
    row,
    words: ["address", "addresses"],
    empty: () => h("p", { class: "empty" }, only.q || only.reason ? "No address is like that." : "No address is suppressed."),
  });
  const options = [["", "All"], ...REASONS.map((code) => [code, reason(code)])];
  return {
    title: "Suppressions",
    element: h(
      "div",
      {},
      h(
        "div",
        { class: "page-head" },
        h("div", {}, h("h1", { tabindex: "-1" }, "Suppressions"), h("p", { class: "quiet" }, "Addresses no campaign is sent to, whatever the CRM says.")),
        h("div", { class: "actions" }, csv, button("Read a CSV", read, { drawing: "upload" }), button("Suppress an address", add, { tone: "primary", drawing: "plus" })),
      ),
      result,
      h("div", { class: "filters" }, pills("Show addresses", options, [only.reason], ([code]) => list.filter({ reason: code })), searchField("Address starts with", only.q, settled((q) => list.filter({ q }), 250))),
      h("section", { class: "card flush", "aria-label": "Suppressed addresses" }, table, below),
    ),
    leave: list.stop,
  };
}

function outcome({ added, known, malformed }) {
  const bad = malformed.slice(0, SHOWN_LINES).map(({ line, value }) => h("li", {}, `Line ${line}: `, h("code", {}, value)));
  const more = malformed.length > SHOWN_LINES && h("li", {}, `and ${malformed.length - SHOWN_LINES} more`);
  const sum = `${count(added, "address", "addresses")} added, ${known} known already.`;
  if (malformed.length === 0) return notice(sum, { tone: "good" });
  return notice([sum, ` ${count(malformed.length, "line has", "lines have")} no address that can be used:`, h("ul", {}, bad, more)], { tone: "warning" });
}

function notHere() {
  const text = h("p", {}, "This installation keeps no list of suppressed addresses.");
  return { title: "Suppressions", element: h("section", { class: "message" }, h("span", { class: "drawing" }, icon("mail")), h("h1", { tabindex: "-1" }, "Suppressions"), text) };
}

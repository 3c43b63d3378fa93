/** The email log: what became of each recipient, with filters, a resend, and all of it as CSV. */

import * as api from "./api.js";
import { refreshButton } from "./actions.js";
import { h, put, settled } from "./dom.js";
import { audience as inWords, moment, number, reason, SEND_STATUS } from "./format.js";
import { campaignHead, statusLabels } from "./head.js";
import { ask, badge, busy, button, failure, mention, moreButton, pills, save, say, searchField } from "./parts.js";
import { note } from "./router.js";

const PAGE = 50;
const COLUMNS = ["Address", "State", "Tries", "Sent", "Opened", ""];
const COUNTED = { QUEUED: "queued", SENDING: "sending", DEFERRED: "deferred", DELIVERED: "delivered", FAILED: "failed", UNCONFIRMED: "unconfirmed", SKIPPED: "skipped" };

export async function logScreen([id], query) {
  const only = { status: query.getAll("status").filter((status) => status in SEND_STATUS), q: query.get("q") ?? "" };
  const [campaign, figures, labels, first] = await Promise.all([
    api.campaign(id),
    api.progress(id),
    statusLabels(api.statuses()),
    api.sends(id, { ...only, limit: PAGE }),
  ]);
  let page = first;
  let items = page.items;
  let asking = null;

  const body = h("tbody", {});
  const below = h("div", { class: "below" });
  const table = h(
    "table",
    { class: "log" },
    h("caption", { class: "unseen" }, "Email log"),
    h("thead", {}, h("tr", {}, COLUMNS.map((label) => h("th", { scope: "col" }, label || h("span", { class: "unseen" }, "Resend"))))),
    body,
  );
  const csv = button("Download CSV", download, { drawing: "download" });

  async function filter(change) {
    Object.assign(only, change);
    note(new URLSearchParams([...only.status.map((status) => ["status", status]), ...(only.q === "" ? [] : [["q", only.q]])]));
    asking?.abort();
    asking = new AbortController();
    try {
      page = await api.sends(id, { ...only, limit: PAGE }, asking.signal);
    } catch (error) {
      if (error.name !== "AbortError") put(below, failure(error, () => filter({})));
      return;
    }
    items = page.items;
    show();
    mention(items.length === 0 ? "No recipient" : `${items.length}${page.nextCursor === null ? "" : " or more"} recipients`);
  }

  async function more(event) {
    const next = await busy(event.currentTarget, () => api.sends(id, { ...only, limit: PAGE, cursor: page.nextCursor }));
    if (next === null) return;
    page = next;
    const added = page.items.map(row);
    items = [...items, ...page.items];
    body.append(...added);
    showBelow();
    added[0]?.querySelector("th").focus({ preventScroll: true });
    mention(`${items.length} recipients are shown`);
  }

  function show() {
    put(body, items.map(row));
    table.hidden = items.length === 0;
    showBelow();
  }

  function showBelow() {
    if (items.length === 0) put(below, h("p", { class: "empty" }, empty(campaign, only)));
    else put(below, page.nextCursor !== null && moreButton(more));
  }

  async function download() {
    const blob = await busy(csv, () => api.sendsCsv(id, only));
    if (blob !== null) save(blob, `${fileName(campaign.name)}-log.csv`);
  }

  function row(send) {
    const again = send.status === "FAILED" || send.status === "UNCONFIRMED";
    const error = send.error === null ? null : [send.error.smtpCode, send.error.enhancedCode, send.error.message].filter(Boolean).join(" ");
    const opened = send.openCount > 1 ? `${moment(send.openedAt)} (${number(send.openCount)}×)` : send.openedAt && moment(send.openedAt);
    const resent = again && button("Resend", () => resend(send), { tone: "small", "aria-label": `Resend to ${send.email}` });
    const element = h(
      "tr",
      { id: `send-${send.id}` },
      h("th", { scope: "row", class: "address", tabindex: "-1" }, send.email, send.unsubscribedAt && h("small", {}, `unsubscribed ${moment(send.unsubscribedAt)}`)),
      h("td", {}, badge(send.status), send.reason && h("small", {}, reason(send.reason)), error && h("small", { class: "said" }, error)),
      cell("Tries", send.attempts > 0 && number(send.attempts), "tries"),
      cell("Sent", send.sentAt && moment(send.sentAt)),
      cell("Opened", opened),
      h("td", { class: "row-end" }, resent),
    );
    return element;
  }

  async function resend(send) {
    const unsure = "Nobody knows whether it arrived: the connection broke before the answer. If it did arrive, it arrives twice now.";
    const done = await ask({
      title: `Resend to ${send.email}?`,
      content: h("p", {}, send.status === "UNCONFIRMED" ? unsure : "It is tried again from the beginning."),
      confirm: "Resend",
      act: () => api.resend(id, send.id),
    });
    if (!done) return;
    const at = items.findIndex((item) => item.id === send.id);
    items[at] = { ...send, status: "QUEUED", reason: null, error: null };
    const line = row(items[at]);
    document.getElementById(`send-${send.id}`)?.replaceWith(line);
    line.querySelector("th").focus();
    say(`It is sent to ${send.email} again.`);
  }

  show();
  const options = Object.entries(SEND_STATUS)
    .filter(([status]) => figures[COUNTED[status]] > 0 || only.status.includes(status))
    .map(([status, label]) => [status, label, number(figures[COUNTED[status]])]);
  return {
    title: `Email log of ${campaign.name}`,
    element: h(
      "div",
      {},
      campaignHead(campaign, { actions: [csv, refreshButton(() => filter({}))], audience: inWords(campaign.audience, labels), here: "log" }),
      h("div", { class: "filters" }, options.length > 0 && pills("Show recipients", options, only.status, (status) => filter({ status }), { many: true }), searchField("Address starts with", only.q, settled((q) => filter({ q }), 250))),
      h("section", { class: "card flush", "aria-label": "Recipients" }, table, below),
    ),
    leave: () => asking?.abort(),
  };
}

function cell(label, value, kind = "") {
  return h("td", { class: `${kind} ${value ? "" : "blank"}`, "data-label": label }, value || h("span", { class: "quiet" }, "–"));
}

function empty({ status, expandedAt }, { status: states, q }) {
  if (states.length > 0 || q !== "") return "No recipient is like that.";
  return status === "SENDING" && expandedAt === null ? "The list of recipients is being made." : "There are no recipients.";
}

function fileName(name) {
  return name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase() || "campaign";
}

/** The email log: what became of each recipient, with filters, a resend, and all of it as CSV. */

import * as api from "./api.js";
import { refreshButton } from "./actions.js";
import { h, settled } from "./dom.js";
import { audience as inWords, moment, number, reason, SEND_STATUS } from "./format.js";
import { campaignHead, statusLabels } from "./head.js";
import { PAGE, paged } from "./paging.js";
import { ask, badge, busy, button, pills, save, say, searchField } from "./components.js";

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

  async function download() {
    const blob = await busy(csv, () => api.sendsCsv(id, only));
    if (blob !== null) save(blob, `${fileName(campaign.name)}-log.csv`);
  }

  function row(send) {
    const again = send.status === "FAILED" || send.status === "UNCONFIRMED";
    const error = send.error === null ? null : [send.error.smtpCode, send.error.enhancedCode, send.error.message].filter(Boolean).join(" ");
    const opened = send.openCount > 1 ? `${moment(send.openedAt)} (${number(send.openCount)}×)` : send.openedAt && moment(send.openedAt);
    const resent = again && button("Resend", () => resend(send), { tone: "small", "aria-label": `Resend to ${send.email}` });
    return h(
      "tr",
      {},
      h("th", { scope: "row", class: "address", tabindex: "-1" }, send.email, send.unsubscribedAt && h("small", {}, `unsubscribed ${moment(send.unsubscribedAt)}`)),
      h("td", {}, badge(send.status), send.reason && h("small", {}, reason(send.reason)), error && h("small", { class: "said" }, error)),
      cell("Tries", send.attempts > 0 && number(send.attempts), "tries"),
      cell("Sent", send.sentAt && moment(send.sentAt)),
      cell("Opened", opened),
      h("td", { class: "row-end" }, resent),
    );
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
    list.replace(send.id, { ...send, status: "QUEUED", reason: null, error: null })?.querySelector("th").focus();
    say(`It is sent to ${send.email} again.`);
  }

  const list = paged({
    first,
    only,
    load: (query, signal) => api.sends(id, query, signal),
    rows: body,
    below,
    row,
    words: ["recipient", "recipients"],
    empty: () => h("p", { class: "empty" }, empty(campaign, only)),
  });
  const options = Object.entries(SEND_STATUS)
    .filter(([status]) => figures[COUNTED[status]] > 0 || only.status.includes(status))
    .map(([status, label]) => [status, label, number(figures[COUNTED[status]])]);
  return {
    title: `Email log of ${campaign.name}`,
    element: h(
      "div",
      {},
      campaignHead(campaign, { actions: [csv, refreshButton(() => list.filter())], audience: inWords(campaign.audience, labels), here: "log" }),
      h("div", { class: "filters" }, options.length > 0 && pills("Show recipients", options, only.status, (status) => list.filter({ status }), { many: true }), searchField("Address starts with", only.q, settled((q) => list.filter({ q }), 250))),
      h("section", { class: "card flush", "aria-label": "Recipients" }, table, below),
    ),
    leave: list.stop,
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

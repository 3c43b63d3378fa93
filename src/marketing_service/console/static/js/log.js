/** The email log: the state of each send, with filters, resend and a CSV download. */

import * as api from "./api.js";
import { refreshButton } from "./actions.js";
import { h, debounce } from "./dom.js";
import { audienceText, dateTime, number, reasonText, SEND_STATUS } from "./format.js";
import { campaignHeader, statusLabels } from "./header.js";
import { PAGE, paged } from "./paging.js";
import { confirmDialog, badge, withBusyButton, button, pills, downloadFile, toast, searchField } from "./components.js";

const COLUMNS = ["Address", "Status", "Attempts", "Sent", "Opened", ""];
const STATS_FIELDS = { QUEUED: "queued", SENDING: "sending", DEFERRED: "deferred", DELIVERED: "delivered", FAILED: "failed", UNCONFIRMED: "unconfirmed", SKIPPED: "skipped" };

export async function logScreen([id], query) {
  const filters = { status: query.getAll("status").filter((status) => status in SEND_STATUS), q: query.get("q") ?? "" };
  const [campaign, stats, labels, first] = await Promise.all([
    api.campaign(id),
    api.stats(id),
    statusLabels(api.statuses()),
    api.sends(id, { ...filters, limit: PAGE }),
  ]);
  const body = h("tbody", {});
  const footer = h("div", { class: "below" });
  const table = h(
    "table",
    { class: "log" },
    h("caption", { class: "visually-hidden" }, "Email log"),
    h("thead", {}, h("tr", {}, COLUMNS.map((label) => h("th", { scope: "col" }, label || h("span", { class: "visually-hidden" }, "Resend"))))),
    body,
  );
  const csv = button("Download CSV", download, { icon: "download" });

  async function download() {
    const blob = await withBusyButton(csv, () => api.sendsCsv(id, filters));
    if (blob !== null) downloadFile(blob, `${fileName(campaign.name)}-log.csv`);
  }

  function row(send) {
    const canResend = send.status === "FAILED" || send.status === "UNCONFIRMED";
    const error = send.error === null ? null : [send.error.smtpCode, send.error.enhancedCode, send.error.message].filter(Boolean).join(" ");
    const opened = send.openCount > 1 ? `${dateTime(send.openedAt)} (${number(send.openCount)}×)` : send.openedAt && dateTime(send.openedAt);
    const resendButton = canResend && button("Resend", () => resend(send), { tone: "small", "aria-label": `Resend to ${send.email}` });
    return h(
      "tr",
      {},
      h("th", { scope: "row", class: "address", tabindex: "-1" }, send.email, send.unsubscribedAt && h("small", {}, `unsubscribed ${dateTime(send.unsubscribedAt)}`)),
      h("td", {}, badge(send.status), send.reason && h("small", {}, reasonText(send.reason)), error && h("small", { class: "smtp-error" }, error)),
      cell("Attempts", send.attempts > 0 && number(send.attempts), "attempts"),
      cell("Sent", send.sentAt && dateTime(send.sentAt)),
      cell("Opened", opened),
      h("td", { class: "row-end" }, resendButton),
    );
  }

  async function resend(send) {
    const unconfirmedText = "The relay did not confirm this message. It may or may not have arrived. If it did, the recipient will get it twice.";
    const done = await confirmDialog({
      title: `Resend to ${send.email}?`,
      content: h("p", {}, send.status === "UNCONFIRMED" ? unconfirmedText : "The email is sent to this recipient again."),
      confirmLabel: "Resend",
      action: () => api.resend(id, send.id),
    });
    if (!done) return;
    list.replace(send.id, { ...send, status: "QUEUED", reason: null, error: null })?.querySelector("th").focus();
    toast(`The email to ${send.email} is queued again.`);
  }

  const list = paged({
    first,
    filters,
    load: (query, signal) => api.sends(id, query, signal),
    rows: body,
    footer,
    row,
    plural: "recipients",
    empty: () => h("p", { class: "empty" }, empty(campaign, filters)),
  });
  const options = Object.entries(SEND_STATUS)
    .filter(([status]) => stats[STATS_FIELDS[status]] > 0 || filters.status.includes(status))
    .map(([status, label]) => [status, label, number(stats[STATS_FIELDS[status]])]);
  return {
    title: `Email log of ${campaign.name}`,
    element: h(
      "div",
      {},
      campaignHeader(campaign, { actions: [csv, refreshButton(() => list.filter())], audience: audienceText(campaign.audience, labels), here: "log" }),
      h("div", { class: "filters" }, options.length > 0 && pills("Show recipients", options, filters.status, (status) => list.filter({ status }), { many: true }), searchField("Address starts with", filters.q, debounce((q) => list.filter({ q }), 250))),
      h("section", { class: "card flush", "aria-label": "Recipients" }, table, footer),
    ),
    leave: list.stop,
  };
}

function cell(label, value, kind = "") {
  return h("td", { class: `${kind} ${value ? "" : "blank"}`, "data-label": label }, value || h("span", { class: "quiet" }, "–"));
}

function empty({ status, expandedAt }, { status: states, q }) {
  if (states.length > 0 || q !== "") return "No recipients match your filters.";
  return status === "SENDING" && expandedAt === null ? "The recipient list is being built." : "This campaign has no recipients.";
}

function fileName(name) {
  return name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase() || "campaign";
}

/** The list of campaigns, with totals, filters and a search field. */

import * as api from "./api.js";
import { h, icon, setContent, debounce } from "./dom.js";
import { CAMPAIGN_STATUS, date, number, percent } from "./format.js";
import { PAGE, paged } from "./paging.js";
import { statCard, pills, searchField } from "./components.js";
import { to } from "./router.js";
import { campaignBadge, isDue, isScheduled, scheduleText } from "./schedule.js";

const POLL_MILLISECONDS = 4000;
const STATUSES = Object.keys(CAMPAIGN_STATUS);
/** What the list showed when the user savedView it. Used to restore it on the way back. */
let savedView = null;

export async function listScreen(_, query) {
  const filters = { status: STATUSES.includes(query.get("status")) ? query.get("status") : "", q: query.get("q") ?? "" };
  const restored = savedView !== null && savedView.status === filters.status && savedView.q === filters.q ? savedView : null;
  let opened = restored?.opened;
  savedView = null;
  const firstLimit = Math.min(200, Math.max(PAGE, restored?.items.length ?? 0));
  let [totals, first] = await Promise.all([api.overview(), api.campaigns({ ...filters, limit: firstLimit })]);

  const cards = h("dl", { class: "stats" });
  const rows = h("ul", { class: "rows", onclick: (event) => (opened = event.target.closest("li")?.dataset.id) });
  const footer = h("div", { class: "below" });
  const groups = h("div", {});

  function showTotals() {
    setContent(
      cards,
      statCard("Campaigns", number(totals.total)),
      statCard("Drafts", number(totals.draft)),
      statCard("Sending", number(totals.sending)),
      statCard("Sent", number(totals.sent), { details: totals.sent > 0 && `${percent(totals.averageOpenRate)} average open rate` }),
    );
    const counts = { "": totals.total, DRAFT: totals.draft, SENDING: totals.sending, SENT: totals.sent, FAILED: totals.failed };
    const options = [["", "All"], ...Object.entries(CAMPAIGN_STATUS)].map(([v, label]) => [v, label, number(counts[v])]);
    const focused = groups.contains(document.activeElement);
    setContent(groups, pills("Show campaigns", options, [filters.status], ([status]) => list.filter({ status })));
    if (focused) groups.querySelector("input:checked").focus();
  }

  /** Updates the rows of campaigns that are being sent, and of scheduled ones from their time on. */
  async function poll() {
    const sending = list.items().filter((item) => item.status === "SENDING" || isDue(item)).slice(0, 10);
    if (document.hidden || sending.length === 0) return;
    try {
      const updated = await Promise.all(sending.map(({ id }) => api.nullIfNotFound(api.campaign(id))));
      totals = await api.overview();
      updated.filter(Boolean).forEach((campaign) => {
        const shown = list.items().find(({ id }) => id === campaign.id);
        if (shown === undefined || JSON.stringify(shown) === JSON.stringify(campaign)) return;
        const focused = document.activeElement.closest("li")?.dataset.id === campaign.id;
        const line = list.replace(campaign.id, campaign);
        if (focused) line.querySelector("a").focus();
      });
      showTotals();
    } catch {
      // The next poll tries again. The data on the page is at most a few seconds old.
    }
  }

  const list = paged({
    first,
    filters,
    load: api.campaigns,
    rows,
    footer,
    row,
    plural: "campaigns",
    empty: () => emptyList(filters),
  });
  showTotals();
  // On the way back, the focus goes to the row that the user opened.
  rows.querySelector(`li[data-id="${opened}"] a`)?.setAttribute("data-focus", "");
  const polling = setInterval(poll, POLL_MILLISECONDS);

  const element = h(
    "div",
    {},
    h(
      "div",
      { class: "page-head" },
      h("h1", { tabindex: "-1" }, "Campaigns"),
      h("div", { class: "actions" }, h("a", { class: "button primary", href: to("/campaigns/new") }, icon("plus"), "New campaign")),
    ),
    cards,
    h(
      "div",
      { class: "list" },
      h("div", { class: "filters" }, groups, searchField("Name starts with", filters.q, debounce((q) => list.filter({ q }), 250))),
      h("section", { class: "card flush", "aria-label": "Campaigns" }, rows, footer),
    ),
  );
  return {
    title: "Campaigns",
    element,
    leave() {
      clearInterval(polling);
      list.stop();
      savedView = { ...filters, items: list.items(), opened };
    },
  };
}

function row(campaign) {
  return h(
    "li",
    { "data-id": campaign.id },
    h(
      "a",
      { href: to(`/campaigns/${campaign.id}`) },
      h("span", { class: "row-name" }, h("b", {}, campaign.name), h("small", {}, campaign.subject)),
      campaignBadge(campaign, campaign.pausedAt && campaign.status === "SENDING" && "paused"),
      h("span", { class: "row-facts" }, results(campaign), h("small", { class: "row-when" }, when(campaign))),
    ),
  );
}

function results(campaign) {
  const { status, stats, expandedAt } = campaign;
  if (isScheduled(campaign)) return null; // The time and its zone need the space.
  if (status === "DRAFT" || status === "FAILED") return [h("span", { class: "row-count" }), h("span", { class: "row-rate" })];
  if (status === "SENDING") {
    const share = stats.recipients === 0 ? 0 : stats.delivered / stats.recipients;
    const text = expandedAt === null ? "…" : number(stats.recipients);
    const rate = expandedAt === null ? "reading contacts" : `${percent(share)} delivered`;
    return [h("span", { class: "row-count" }, text), h("span", { class: "row-rate" }, rate)];
  }
  return [
    h("span", { class: "row-count" }, number(stats.recipients), h("span", { class: "visually-hidden" }, " recipients")),
    h("span", { class: "row-rate" }, stats.delivered > 0 ? `${percent(stats.openRate)} opened` : ""),
  ];
}

function when(campaign) {
  const { status, sentAt, launchedAt, createdAt, cancelledAt } = campaign;
  if (isScheduled(campaign)) return `For ${scheduleText(campaign)}`;
  if (status === "DRAFT") return `Created ${date(createdAt)}`;
  if (cancelledAt !== null) return `Cancelled ${date(cancelledAt)}`;
  return status === "SENT" && sentAt !== null ? `Sent ${date(sentAt)}` : `Launched ${date(launchedAt ?? createdAt)}`;
}

function emptyList({ status, q }) {
  if (status !== "" || q !== "") return h("p", { class: "empty" }, "No campaigns match your filters.");
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, "No campaigns yet"),
    h("p", {}, "Write a message, choose the recipients, check the preview, and launch."),
    h("a", { class: "button primary", href: to("/campaigns/new") }, icon("plus"), "Create your first campaign"),
  );
}

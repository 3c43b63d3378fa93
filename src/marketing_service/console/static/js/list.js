/** The list of campaigns: cards, pills, search, and a row for each. */

import * as api from "./api.js";
import { h, icon, put, settled } from "./dom.js";
import { CAMPAIGN_STATUS, day, number, percent } from "./format.js";
import { PAGE, paged } from "./paging.js";
import { badge, figure, pills, searchField } from "./components.js";
import { to } from "./router.js";

const POLL_MILLISECONDS = 4000;
const STATUSES = Object.keys(CAMPAIGN_STATUS);
/** What the list showed when it was left, to come back to. */
let left = null;

export async function listScreen(_, query) {
  const only = { status: STATUSES.includes(query.get("status")) ? query.get("status") : "", q: query.get("q") ?? "" };
  const known = left !== null && left.status === only.status && left.q === only.q ? left : null;
  let opened = known?.opened;
  left = null;
  const least = Math.min(200, Math.max(PAGE, known?.items.length ?? 0));
  let [counts, first] = await Promise.all([api.overview(), api.campaigns({ ...only, limit: least })]);

  const figures = h("dl", { class: "figures" });
  const rows = h("ul", { class: "rows", onclick: (event) => (opened = event.target.closest("li")?.dataset.id) });
  const below = h("div", { class: "below" });
  const groups = h("div", {});

  function showCounts() {
    put(
      figures,
      figure("Campaigns", number(counts.total)),
      figure("Drafts", number(counts.draft)),
      figure("Sending", number(counts.sending)),
      figure("Sent", number(counts.sent), { details: counts.sent > 0 && `${percent(counts.averageOpenRate)} open on average` }),
    );
    const notes = { "": counts.total, DRAFT: counts.draft, SENDING: counts.sending, SENT: counts.sent, FAILED: counts.failed };
    const options = [["", "All"], ...Object.entries(CAMPAIGN_STATUS)].map(([v, label]) => [v, label, number(notes[v])]);
    const focused = groups.contains(document.activeElement);
    put(groups, pills("Show campaigns", options, [only.status], ([status]) => list.filter({ status })));
    if (focused) groups.querySelector("input:checked").focus();
  }

  /** What is being sent moves; the rest of the list stays where it is. */
  async function poll() {
    const moving = list.items().filter((item) => item.status === "SENDING").slice(0, 10);
    if (document.hidden || moving.length === 0) return;
    try {
      const moved = await Promise.all(moving.map(({ id }) => api.orNull(api.campaign(id))));
      counts = await api.overview();
      moved.filter(Boolean).forEach((campaign) => {
        const shown = list.items().find(({ id }) => id === campaign.id);
        if (shown === undefined || JSON.stringify(shown) === JSON.stringify(campaign)) return;
        const focused = document.activeElement.closest("li")?.dataset.id === campaign.id;
        const line = list.replace(campaign.id, campaign);
        if (focused) line.querySelector("a").focus();
      });
      showCounts();
    } catch {
      // The next one will tell; what is shown was true a moment ago.
    }
  }

  const list = paged({
    first,
    only,
    load: api.campaigns,
    rows,
    below,
    row,
    words: ["campaign", "campaigns"],
    empty: () => nothing(only),
  });
  showCounts();
  // Whoever comes back is taken to where they left.
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
    figures,
    h(
      "div",
      { class: "list" },
      h("div", { class: "filters" }, groups, searchField("Name starts with", only.q, settled((q) => list.filter({ q }), 250))),
      h("section", { class: "card flush", "aria-label": "Campaigns" }, rows, below),
    ),
  );
  return {
    title: "Campaigns",
    element,
    leave() {
      clearInterval(polling);
      list.stop();
      left = { ...only, items: list.items(), opened };
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
      badge(campaign.status, campaign.pausedAt && campaign.status === "SENDING" && "paused"),
      h("span", { class: "row-facts" }, results(campaign), h("small", { class: "row-when" }, when(campaign))),
    ),
  );
}

function results({ status, stats, expandedAt }) {
  if (status === "DRAFT" || status === "FAILED") return [h("span", { class: "row-count" }), h("span", { class: "row-rate" })];
  if (status === "SENDING") {
    const share = stats.recipients === 0 ? 0 : stats.delivered / stats.recipients;
    const text = expandedAt === null ? "…" : number(stats.recipients);
    const rate = expandedAt === null ? "reading contacts" : `${percent(share)} delivered`;
    return [h("span", { class: "row-count" }, text), h("span", { class: "row-rate" }, rate)];
  }
  return [
    h("span", { class: "row-count" }, number(stats.recipients), h("span", { class: "unseen" }, " recipients")),
    h("span", { class: "row-rate" }, stats.delivered > 0 ? `${percent(stats.openRate)} open` : ""),
  ];
}

function when({ status, sentAt, launchedAt, createdAt, cancelledAt }) {
  if (status === "DRAFT") return `Created ${day(createdAt)}`;
  if (cancelledAt !== null) return `Cancelled ${day(cancelledAt)}`;
  return status === "SENT" && sentAt !== null ? `Sent ${day(sentAt)}` : `Launched ${day(launchedAt ?? createdAt)}`;
}

function nothing({ status, q }) {
  if (status !== "" || q !== "") return h("p", { class: "empty" }, "No campaign is like that.");
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, "No campaigns yet"),
    h("p", {}, "Write a message, choose who gets it, look at it, and launch it."),
    h("a", { class: "button primary", href: to("/campaigns/new") }, icon("plus"), "Write the first one"),
  );
}

/** The top of a campaign's screens: where one is, its name and state, what can be done, and the way to the log. */

import { h, icon } from "./dom.js";
import { number } from "./format.js";
import { badge } from "./components.js";
import { to } from "./router.js";

/** `actions`: elements; `audience`: in words; `here`: `overview` or `log`. */
export function campaignHead(campaign, { actions = [], audience, here }) {
  const { id, name, status, stats, expandedAt } = campaign;
  const launched = status === "SENDING" || status === "SENT";
  const paused = status === "SENDING" && campaign.pausedAt !== null && "paused";
  const cancelled = campaign.cancelledAt !== null && "cancelled";
  const tabs = [
    ["overview", "Overview", `/campaigns/${id}`],
    ["log", `Email log${expandedAt === null ? "" : ` (${number(stats.recipients)})`}`, `/campaigns/${id}/log`],
  ];
  return h(
    "div",
    { class: "campaign-head" },
    h("nav", { class: "back", "aria-label": "Back" }, h("a", { href: to("") }, icon("arrow"), "Campaigns")),
    h(
      "div",
      { class: "page-head" },
      h(
        "div",
        {},
        h("div", { class: "title" }, h("h1", { tabindex: "-1" }, name), badge(status, paused || cancelled)),
        h("p", { class: "quiet" }, audience),
      ),
      h("div", { class: "actions" }, actions),
    ),
    launched &&
      h(
        "nav",
        { class: "tabs", "aria-label": "Campaign" },
        tabs.map(([key, label, where]) => h("a", { href: to(where), "aria-current": key === here && "page" }, label)),
      ),
  );
}

/** The CRM's words for its statuses, by their values; none of them while it does not answer. */
export async function statusLabels(asking) {
  try {
    return new Map((await asking).items.map(({ value, label }) => [value, label]));
  } catch {
    return new Map();
  }
}

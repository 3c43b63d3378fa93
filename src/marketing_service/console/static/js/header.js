/** The header of a campaign's screens: a back link, the name, the state, the actions and the tabs. */

import { h, icon } from "./dom.js";
import { number } from "./format.js";
import { campaignBadge } from "./schedule.js";
import { to } from "./router.js";

/** `actions`: elements. `audience`: text. `here`: the current tab, `overview` or `log`. */
export function campaignHeader(campaign, { actions = [], audience, here }) {
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
        h("div", { class: "title" }, h("h1", { tabindex: "-1" }, name), campaignBadge(campaign, paused || cancelled)),
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

/** The CRM's labels by status value. Empty if the CRM does not respond. */
export async function statusLabels(promise) {
  try {
    return new Map((await promise).items.map(({ value, label }) => [value, label]));
  } catch {
    return new Map();
  }
}

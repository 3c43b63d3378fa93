/** The stats of a launched campaign: cards, recipients by status, timeline and links. It also contains the card with the message. */

import * as api from "./api.js";
import { statusBar, timelineChart } from "./charts.js";
import { h } from "./dom.js";
import { count, dateTime, duration, number, percent } from "./format.js";
import { mailView } from "./mailview.js";
import { card, statCard } from "./components.js";
import { to } from "./router.js";

export function statCards(campaign, stats) {
  const { recipients, delivered, failed, unconfirmed, opens, openRate, skipped } = stats;
  const log = (...states) => to(`/campaigns/${campaign.id}/log?${new URLSearchParams(states.map((state) => ["status", state]))}`);
  const bounces = [
    [stats.hardBounces, "hard bounce", "hard bounces"],
    [stats.softBounces, "soft bounce", "soft bounces"],
  ].filter(([many]) => many > 0);
  const details = [
    unconfirmed > 0 && `${number(failed)} failed`,
    unconfirmed > 0 && `${number(unconfirmed)} unconfirmed`,
    ...bounces.map((bounce) => count(...bounce)),
  ].filter(Boolean);
  const machineDetails = stats.machineOpens > 0 && `${number(stats.machineOpens)} by machines`;
  const humanDetails = stats.machineOpens > 0 && `${percent(stats.humanOpenRate)} by people`;
  const cards = [
    statCard("Recipients", number(recipients), { details: skipped > 0 && `${number(skipped)} skipped` }),
    statCard("Delivered", number(delivered), { details: recipients > 0 && percent(delivered / recipients) }),
    failedCard(number(failed + unconfirmed), details, log("FAILED", "UNCONFIRMED"), failed + unconfirmed > 0),
    statCard("Opens", number(opens), { details: machineDetails }),
    statCard("Open rate", percent(openRate), { details: humanDetails }),
    campaign.trackClicks && stats.clicks !== undefined && statCard("Clicks", number(stats.clicks), { details: delivered > 0 && `${percent(stats.clicks / delivered)} of delivered` }),
    stats.unsubscribes !== undefined && statCard("Unsubscribed", number(stats.unsubscribes), { details: delivered > 0 && stats.unsubscribes > 0 && percent(stats.unsubscribes / delivered) }),
  ];
  return h("dl", { class: "stats" }, cards);
}

export function statusCard(stats, { status, pausedAt }) {
  const isSending = status === "SENDING" && pausedAt === null;
  return stats.recipients > 0 && card("Recipients by status", h("div", {}, statusBar(stats), isSending && progressLine(stats)));
}

/** The rate of the sending and the time left, or since when nothing was sent. */
function progressLine({ ratePerSecond, secondsLeft, stalledSince }) {
  if (stalledSince) return h("p", { class: "progress-line" }, `Nothing has been sent since ${dateTime(stalledSince)}.`);
  if (ratePerSecond === undefined) return null;
  const left = secondsLeft === undefined ? "" : `, ${duration(secondsLeft)} left`;
  return h("p", { class: "progress-line" }, `${ratePerSecond.toFixed(ratePerSecond < 10 ? 1 : 0)} emails a second${left}`);
}

/** Failed and unconfirmed sends as one number. The details and the tooltip show them separately. */
function failedCard(total, details, href, some) {
  const card = statCard("Failed", total, { details, tone: some ? "danger" : "", href: some ? href : null });
  if (details.length > 0) card.title = details.join(", ");
  return card;
}

export function timelineCard(timeline, { delivered }) {
  if (!timeline || timeline.items.length === 0 || delivered === 0) return null;
  return card("Deliveries and opens over time", timelineChart(timeline));
}

export function linksTable(links) {
  if (!links || links.items.length === 0) return null;
  const head = ["Link", "People", "Clicks", "By machines"].map((label, at) => h("th", { scope: "col", class: at > 0 && "end" }, label));
  const rows = links.items.map(({ url, clicks, totalClicks, machineClicks }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", class: "address" }, h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, url)),
      [clicks, totalClicks, machineClicks].map((value) => h("td", { class: "end" }, number(value))),
    ),
  );
  const table = h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows));
  return card("Links", h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Links" }, table));
}

/** The message, as a sample recipient gets it. `load` requests it. */
export function messageCard(campaign) {
  const view = mailView({ title: `Message: ${campaign.subject}` });
  return {
    element: card("Message", view.element),
    async load() {
      if (!campaign.htmlBody?.trim() && !campaign.textBody?.trim()) {
        view.showWarning("The message is empty.");
        return;
      }
      try {
        view.show(await api.preview(campaign.id));
      } catch (error) {
        view.showWarning(error.message);
      }
    },
  };
}

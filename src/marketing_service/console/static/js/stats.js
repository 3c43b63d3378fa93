/** The figures of a launched campaign: its cards, where every recipient stands, its course, its links; and its mail. */

import * as api from "./api.js";
import { ledgerBar, timelineChart } from "./charts.js";
import { h } from "./dom.js";
import { count, number, percent } from "./format.js";
import { mailView } from "./mailview.js";
import { card, figure, sentence } from "./components.js";
import { to } from "./router.js";

export function figures(campaign, progress) {
  const { recipients, delivered, failed, unconfirmed, opens, openRate, skipped } = progress;
  const log = (...states) => to(`/campaigns/${campaign.id}/log?${new URLSearchParams(states.map((state) => ["status", state]))}`);
  const bounces = [
    [progress.hardBounces, "hard bounce", "hard bounces"],
    [progress.softBounces, "soft bounce", "soft bounces"],
  ].filter(([many]) => many > 0);
  const apart = [
    unconfirmed > 0 && `${number(failed)} failed`,
    unconfirmed > 0 && `${number(unconfirmed)} unconfirmed`,
    ...bounces.map((told) => count(...told)),
  ].filter(Boolean);
  const machines = progress.machineOpens > 0 && `${number(progress.machineOpens)} by machines`;
  const human = progress.machineOpens > 0 && `${percent(progress.humanOpenRate)} by people`;
  const cards = [
    figure("Recipients", number(recipients), { details: skipped > 0 && `${number(skipped)} skipped` }),
    figure("Delivered", number(delivered), { details: recipients > 0 && percent(delivered / recipients) }),
    failedFigure(number(failed + unconfirmed), apart, log("FAILED", "UNCONFIRMED"), failed + unconfirmed > 0),
    figure("Opens", number(opens), { details: machines }),
    figure("Open rate", percent(openRate), { details: human }),
    campaign.trackClicks && progress.clicks !== undefined && figure("Clicks", number(progress.clicks), { details: delivered > 0 && `${percent(progress.clicks / delivered)} of delivered` }),
    progress.unsubscribes !== undefined && figure("Unsubscribed", number(progress.unsubscribes), { details: delivered > 0 && progress.unsubscribes > 0 && percent(progress.unsubscribes / delivered) }),
  ];
  return h("dl", { class: "figures" }, cards);
}

export function ledgerCard(progress) {
  return progress.recipients > 0 && card("Where every recipient stands", ledgerBar(progress));
}

/** Failed and unconfirmed together, as the documents count them; told apart below, and when the pointer rests on it. */
function failedFigure(sum, apart, href, some) {
  const made = figure("Failed", sum, { details: apart, tone: some ? "danger" : "", href: some ? href : null });
  if (apart.length > 0) made.title = apart.join(", ");
  return made;
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

/** The mail, as a made-up recipient gets it. `load` asks for it. */
export function messageCard(campaign) {
  const view = mailView({ title: `The message: ${campaign.subject}` });
  return {
    element: card("Message", view.element),
    async load() {
      if (!campaign.htmlBody?.trim() && !campaign.textBody?.trim()) {
        view.complain("Nothing is written yet.");
        return;
      }
      try {
        view.show(await api.preview(campaign.id));
      } catch (error) {
        view.complain(sentence(error));
      }
    },
  };
}

/** A campaign: its figures while it is sent and afterwards, its message, and what can be done with it. */

import * as api from "./api.js";
import { cancel, duplicate, launch, refreshButton, remove, sendTest, step } from "./actions.js";
import { checkCard } from "./preflight.js";
import { h, icon, put, redraw } from "./dom.js";
import { audience as inWords, moment, number, pause, people } from "./format.js";
import { figures, ledgerCard, linksTable, messageCard, timelineCard } from "./stats.js";
import { campaignHead, statusLabels } from "./head.js";
import { button, card, mention, notice, say, sentence } from "./components.js";
import { to } from "./router.js";
import { person } from "./session.js";

const POLL_MILLISECONDS = 2000;
/** When one of these changes, more than figures does. */
const MOMENTS = ["status", "expandedAt", "pausedAt", "cancelledAt", "sentAt"];

export async function detailScreen([id]) {
  const [first, labels] = await Promise.all([api.campaign(id), statusLabels(api.statuses())]);
  const draft = first.status === "DRAFT";
  let [progress, timeline, links, lastCheck] = await Promise.all([
    api.progress(id),
    draft ? undefined : api.timeline(id),
    draft ? undefined : api.links(id),
    draft ? api.lastCheck(id) : null,
  ]);
  let campaign = first;
  let timer = 0;
  let left = false;
  let said = "";

  const head = h("div", {});
  const lines = h("div", { class: "lines" });
  const top = h("div", {});
  const live = h("div", { class: "live" });
  const side = h("div", { class: "side" });
  const connection = h("div", { role: "status" });
  const message = messageCard(campaign);
  let check = null;

  /** The campaign has moved: everything is drawn anew. */
  function moved(now) {
    const changed = now.status !== campaign.status;
    campaign = now;
    draw();
    if (changed) refresh();
  }

  function draw() {
    const focused = head.contains(document.activeElement) ? document.activeElement.textContent : null;
    put(head, campaignHead(campaign, { actions: actions(), audience: inWords(campaign.audience, labels), here: "overview" }));
    if (focused !== null) ([...head.querySelectorAll("a, button")].find((one) => one.textContent === focused) ?? head.querySelector("h1")).focus();
    put(lines, failureLine(campaign), pauseLine(campaign, progress));
    if (campaign.status === "DRAFT") check ??= checkCard(id, lastCheck);
    else {
      check?.leave();
      check = null;
    }
    drawFigures();
    put(side, details(campaign, labels));
  }

  function drawFigures() {
    const launched = campaign.status === "SENDING" || campaign.status === "SENT";
    redraw(top, launched && figures(campaign, progress));
    if (launched) redraw(live, ledgerCard(progress), timelineCard(timeline, progress), linksTable(links));
    else put(live, campaign.status === "DRAFT" && [draftLine(), check.element]);
  }

  function draftLine() {
    const line = h("p", { class: "audience-now", role: "status" }, "Counting who would get it …");
    api.audience(campaign.audience).then(
      ({ count }) => put(line, h("b", {}, people(count)), " would get it now."),
      (error) => put(line, `How many would get it cannot be told now: ${sentence(error)}`),
    );
    return line;
  }

  function actions() {
    const again = (label, drawing, what) => button(label, (event) => step(event.currentTarget, campaign, what, moved), { drawing });
    const copy = button("Duplicate", (event) => duplicate(event.currentTarget, campaign), { drawing: "copy" });
    const deletion = button("Delete", () => remove(campaign), { drawing: "trash", tone: "danger-quiet" });
    const test = button("Send a test", () => sendTest(campaign, person().name), { drawing: "mail" });
    switch (campaign.status) {
      case "DRAFT":
        return [
          deletion,
          copy,
          test,
          h("a", { class: "button", href: to(`/campaigns/${id}/edit`) }, icon("pencil"), "Edit"),
          button("Launch campaign", () => launch(campaign, labels, check?.last(), moved), { tone: "primary", drawing: "send" }),
        ];
      case "SENDING":
        return [
          copy,
          campaign.cancelledAt === null && button("Cancel", () => cancel(campaign, moved), { drawing: "stop", tone: "danger-quiet" }),
          campaign.cancelledAt === null && (campaign.pausedAt === null ? again("Pause", "pause", "pause") : again("Resume", "play", "resume")),
          refreshButton(() => refresh()),
        ];
      case "FAILED":
        return [deletion, copy];
      default:
        return [copy, refreshButton(() => refresh())];
    }
  }

  /** Asks for what moves. */
  async function refresh({ quietly = false } = {}) {
    clearTimeout(timer);
    try {
      // Null: this installation has no such figures, and is not asked again.
      const found = await Promise.all([
        api.campaign(id),
        api.progress(id),
        timeline === null ? null : api.timeline(id),
        links === null ? null : api.links(id),
      ]);
      if (left) return;
      const before = campaign;
      [campaign, progress, timeline, links] = found;
      put(connection);
      if (MOMENTS.some((key) => campaign[key] !== before[key])) draw();
      else drawFigures();
      tell();
    } catch (error) {
      if (left) return;
      put(connection, notice(["What stands here may be old. ", sentence(error)], { tone: "warning" }));
      if (!quietly) say(sentence(error), { tone: "danger" });
    }
    plan();
  }

  /** Whoever listens hears of each quarter, and of the end. */
  function tell() {
    if (campaign.status === "SENT") return announce(campaign.cancelledAt ? "It is cancelled." : `It is sent: ${number(progress.delivered)} of ${number(progress.recipients)} delivered.`);
    if (campaign.pausedAt !== null) return announce("It is paused.");
    if (campaign.status !== "SENDING" || progress.recipients === 0) return undefined;
    const settled = progress.recipients - progress.queued - progress.sending - progress.deferred;
    const quarter = Math.floor((settled / progress.recipients) * 4) * 25;
    return quarter > 0 && announce(`${quarter} percent of ${people(progress.recipients)} are done.`);
  }

  function announce(text) {
    if (text === said) return;
    said = text;
    mention(text);
  }

  function plan() {
    if (left || campaign.status !== "SENDING") return;
    timer = setTimeout(() => (document.hidden ? plan() : refresh({ quietly: true })), POLL_MILLISECONDS);
  }

  draw();
  plan();
  message.load();
  return {
    title: campaign.name,
    element: h("div", {}, head, connection, lines, top, h("div", { class: "detail" }, h("div", { class: "main-column" }, live, message.element), side)),
    leave() {
      left = true;
      clearTimeout(timer);
      check?.leave();
    },
  };
}

function failureLine({ failureReason }) {
  if (failureReason === null) return null;
  const what = [h("b", {}, "The launch failed, and nothing was sent. "), failureReason.message, h("p", { class: "quiet" }, "Duplicate it to try again.")];
  return notice(what, { tone: "danger" });
}

function pauseLine({ status, pausedAt, pauseReason, cancelledAt, expandedAt }, progress) {
  if (status !== "SENDING") return null;
  if (cancelledAt !== null) return notice("It is cancelled; what was on its way is being finished.", { tone: "warning" });
  if (pausedAt !== null) return notice(pause(pauseReason), { tone: "warning" });
  if (expandedAt !== null) return null;
  const read = progress.expanding ? `${number(progress.expanding.fetched)} contacts read so far. ` : "";
  return notice([h("span", { class: "spinner" }), ` The list of recipients is being made. ${read}Nothing is sent before it is complete.`]);
}

function details(campaign, labels) {
  const rows = [
    ["From", [campaign.fromName, `<${campaign.fromEmail}>`].filter(Boolean).join(" ")],
    ["Reply to", campaign.replyTo],
    ["Subject", campaign.subject],
    ["Recipients", inWords(campaign.audience, labels)],
    ["Clicks", campaign.trackClicks === undefined ? null : campaign.trackClicks ? "counted" : "not counted"],
    ["Created", moment(campaign.createdAt)],
    ["Launched", campaign.launchedAt && moment(campaign.launchedAt)],
    ["Sent", campaign.sentAt && moment(campaign.sentAt)],
    ["Cancelled", campaign.cancelledAt && moment(campaign.cancelledAt)],
  ];
  return card("Details", h("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])));
}

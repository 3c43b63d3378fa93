/** The screen of a campaign: its stats, its message, its details and its actions. */

import * as api from "./api.js";
import { cancel, duplicate, refreshButton, remove, sendTest, changeState, unschedule } from "./actions.js";
import { checkCard } from "./preflight.js";
import { h, icon, setContent, redraw } from "./dom.js";
import { LANGUAGES, audienceText, count, dateTime, number, pauseText, people } from "./format.js";
import { launch } from "./launch.js";
import { follow } from "./live.js";
import { statCards, statusCard, linksTable, messageCard, timelineCard } from "./stats.js";
import { campaignHeader, statusLabels } from "./header.js";
import { button, card, announce, notice, toast } from "./components.js";
import { to } from "./router.js";
import { isDue, scheduleNotice, scheduleText } from "./schedule.js";
import { currentUser } from "./session.js";

/** If one of these fields changes, the whole screen is drawn again, not only the stats. */
const REDRAW_FIELDS = ["status", "expandedAt", "pausedAt", "cancelledAt", "sentAt"];
const SCHEDULE_POLL_MILLISECONDS = 2000;

export async function detailScreen([id]) {
  const [first, labels] = await Promise.all([api.campaign(id), statusLabels(api.statuses())]);
  const draft = first.status === "DRAFT";
  let [stats, timeline, links, lastCheck] = await Promise.all([
    api.stats(id),
    draft ? undefined : api.timeline(id),
    draft ? undefined : api.links(id),
    draft ? api.lastCheck(id) : null,
  ]);
  let campaign = first;
  let stopFollowing = null;
  let closed = false;
  let announced = "";

  const head = h("div", {});
  const notices = h("div", { class: "notices" });
  const top = h("div", {});
  const live = h("div", { class: "live" });
  const side = h("div", { class: "side" });
  const connection = h("div", { role: "status" });
  const message = messageCard(campaign);
  let check = null;

  /** Draws everything again after an action has changed the campaign. */
  function onCampaignChanged(now) {
    const changed = now.status !== campaign.status;
    campaign = now;
    draw();
    if (changed) refresh();
  }

  function draw() {
    const focused = head.contains(document.activeElement) ? document.activeElement.textContent : null;
    setContent(head, campaignHeader(campaign, { actions: actions(), audience: audienceText(campaign.audience, labels), here: "overview" }));
    if (focused !== null) ([...head.querySelectorAll("a, button")].find((one) => one.textContent === focused) ?? head.querySelector("h1")).focus();
    drawNotices();
    if (campaign.status === "DRAFT") check ??= checkCard(id, lastCheck);
    else {
      check?.leave();
      check = null;
    }
    drawStats();
    setContent(side, details(campaign, labels));
  }

  function drawNotices() {
    setContent(notices, failureNotice(campaign), stateNotice(campaign, stats), scheduleNotice(campaign, { change: () => openLaunch({ later: true }), remove: removeSchedule }));
  }

  const openLaunch = (options) => launch(campaign, labels, check?.last(), onCampaignChanged, options);

  async function removeSchedule(event) {
    await unschedule(event.currentTarget, campaign, onCampaignChanged);
    // The button is gone.
    if (document.activeElement === document.body) head.querySelector("h1").focus();
  }

  /** Loads a scheduled draft again from its time on, until a worker has launched it, or could not. */
  async function watchSchedule() {
    if (document.hidden || !isDue(campaign)) return;
    const now = await api.campaign(id).catch(() => campaign); // The next poll tries again.
    if (closed || now.version === campaign.version) return;
    onCampaignChanged(now);
    if (now.status !== "DRAFT") announceOnce("Campaign launched.");
    else if (now.scheduleProblem !== null) announceOnce("The scheduled launch did not happen.");
  }

  function drawStats() {
    const launched = campaign.status === "SENDING" || campaign.status === "SENT";
    redraw(top, launched && statCards(campaign, stats));
    if (launched) redraw(live, statusCard(stats, campaign), timelineCard(timeline, stats), linksTable(links));
    else setContent(live, campaign.status === "DRAFT" && [recipientCount(), check.element]);
  }

  function recipientCount() {
    const line = h("p", { class: "audience-now", role: "status" }, "Counting recipients …");
    api.audience(campaign.audience).then(
      ({ count }) => setContent(line, h("b", {}, people(count)), " would receive this campaign now."),
      (error) => setContent(line, `The number of recipients is not available now. ${error.message}`),
    );
    return line;
  }

  function actions() {
    const stateButton = (label, iconName, action) => button(label, (event) => changeState(event.currentTarget, campaign, action, onCampaignChanged), { icon: iconName });
    const copy = button("Duplicate", (event) => duplicate(event.currentTarget, campaign), { icon: "copy" });
    const deletion = button("Delete", () => remove(campaign), { icon: "trash", tone: "danger-quiet" });
    const test = button("Send test email", () => sendTest(campaign, currentUser().name), { icon: "mail" });
    switch (campaign.status) {
      case "DRAFT":
        return [
          deletion,
          copy,
          test,
          h("a", { class: "button", href: to(`/campaigns/${id}/edit`) }, icon("pencil"), "Edit"),
          button("Launch campaign", () => openLaunch(), { tone: "primary", icon: "send" }),
        ];
      case "SENDING":
        return [
          copy,
          campaign.cancelledAt === null && button("Cancel", () => cancel(campaign, onCampaignChanged), { icon: "stop", tone: "danger-quiet" }),
          campaign.cancelledAt === null && (campaign.pausedAt === null ? stateButton("Pause", "pause", "pause") : stateButton("Resume", "play", "resume")),
          refreshButton(() => refresh()),
        ];
      case "FAILED":
        return [deletion, copy];
      default:
        return [copy, refreshButton(() => refresh())];
    }
  }

  /** Loads the data that changes during sending. */
  async function refresh({ silent = false } = {}) {
    try {
      // Null: this installation does not have these stats. They are not requested again.
      const responses = await Promise.all([
        api.campaign(id),
        api.stats(id),
        timeline === null ? null : api.timeline(id),
        links === null ? null : api.links(id),
      ]);
      if (closed) return;
      const before = campaign;
      const { ratePerSecond, secondsLeft, stalledSince } = stats;
      [campaign, stats, timeline, links] = responses;
      // Only the events have these.
      if (stopFollowing !== null && campaign.status === "SENDING") stats = { ratePerSecond, secondsLeft, stalledSince, ...stats };
      setContent(connection);
      if (REDRAW_FIELDS.some((key) => campaign[key] !== before[key])) draw();
      else drawStats();
      announceState();
    } catch (error) {
      if (closed) return;
      setContent(connection, notice(["This page may be out of date. ", error.message], { tone: "warning" }));
      if (!silent) toast(error.message, { tone: "danger" });
    }
    followWhileSending();
  }

  /** Draws the stats of an event. They do not say everything that the screen shows, so a change loads the rest. */
  function onStats(now) {
    if (closed) return;
    const isNews = now.status !== stats.status || Boolean(now.expanding) !== Boolean(stats.expanding) || Boolean(now.ratePerSecond) !== Boolean(stats.ratePerSecond);
    stats = now;
    drawNotices();
    drawStats();
    announceState();
    if (isNews) refresh({ silent: true });
  }

  /** Announces each quarter of the sending, and the end, to screen readers. */
  function announceState() {
    if (campaign.status === "SENT") return announceOnce(campaign.cancelledAt ? "Campaign cancelled." : `Campaign sent. ${number(stats.delivered)} of ${number(stats.recipients)} emails delivered.`);
    if (campaign.pausedAt !== null) return announceOnce("Campaign paused.");
    if (campaign.status !== "SENDING" || stats.recipients === 0) return undefined;
    const finished = stats.recipients - stats.queued - stats.sending - stats.deferred;
    const quarter = Math.floor((finished / stats.recipients) * 4) * 25;
    return quarter > 0 && announceOnce(`${quarter} percent of ${count(stats.recipients, "recipient", "recipients")} processed.`);
  }

  function announceOnce(text) {
    if (text === announced) return;
    announced = text;
    announce(text);
  }

  function followWhileSending() {
    const isSending = !closed && campaign.status === "SENDING";
    if (isSending) stopFollowing ??= follow(id, { onStats, refresh: () => refresh({ silent: true }) });
    else {
      stopFollowing?.();
      stopFollowing = null;
    }
  }

  draw();
  followWhileSending();
  const watching = setInterval(watchSchedule, SCHEDULE_POLL_MILLISECONDS);
  message.load();
  return {
    title: campaign.name,
    element: h("div", {}, head, connection, notices, top, h("div", { class: "detail" }, h("div", { class: "main-column" }, live, message.element), side)),
    leave() {
      closed = true;
      clearInterval(watching);
      followWhileSending();
      check?.leave();
    },
  };
}

function failureNotice({ failureReason }) {
  if (failureReason === null) return null;
  const what = [h("b", {}, "The launch failed. Nothing was sent. "), failureReason.message, h("p", { class: "quiet" }, "Duplicate this campaign to try again.")];
  return notice(what, { tone: "danger" });
}

function stateNotice({ status, pausedAt, pauseReason, pauseMessage, cancelledAt, expandedAt }, stats) {
  if (status !== "SENDING") return null;
  if (cancelledAt !== null) return notice("This campaign is cancelled. Emails that are already being sent will still go out.", { tone: "warning" });
  if (pausedAt !== null) {
    const said = pauseMessage ? h("p", { class: "quiet" }, "The mail relay said: ", pauseMessage) : null;
    return notice([pauseText(pauseReason), said].filter(Boolean), { tone: "warning" });
  }
  if (expandedAt !== null && stats.throttledTo) {
    const { connections, messagesPerSecond } = stats.throttledTo;
    const rate = messagesPerSecond === null ? "" : ` and ${messagesPerSecond.toFixed(1)} messages a second`;
    return notice(`The mail relay limits sending: ${connections} ${connections === 1 ? "connection" : "connections"}${rate}. Sending continues at this speed.`);
  }
  if (expandedAt !== null) return null;
  const read = stats.expanding ? `${number(stats.expanding.fetched)} contacts read so far. ` : "";
  return notice([h("span", { class: "spinner" }), ` Building the recipient list. ${read}Sending starts when the list is complete.`]);
}

function details(campaign, labels) {
  const rows = [
    ["From", [campaign.fromName, `<${campaign.fromEmail}>`].filter(Boolean).join(" ")],
    ["Reply to", campaign.replyTo],
    ["Subject", campaign.subject],
    ["Preheader", campaign.preheader],
    ["Recipients", audienceText(campaign.audience, labels)],
    ["Clicks", campaign.trackClicks === undefined ? null : campaign.trackClicks ? "Tracked" : "Not tracked"],
    ["Language", LANGUAGES[campaign.language] ?? campaign.language],
    ["Created", dateTime(campaign.createdAt)],
    ["Scheduled for", campaign.scheduledAt && scheduleText(campaign)],
    ["Launched", campaign.launchedAt && dateTime(campaign.launchedAt)],
    ["Sent", campaign.sentAt && dateTime(campaign.sentAt)],
    ["Cancelled", campaign.cancelledAt && dateTime(campaign.cancelledAt)],
  ];
  return card("Details", h("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])));
}

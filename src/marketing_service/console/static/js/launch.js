/** The dialog that launches a draft now, or schedules its launch. */

import * as api from "./api.js";
import { errorsOf } from "./preflight.js";
import { h, setContent, uniqueId } from "./dom.js";
import { apiNamesAsLabels, showProblem } from "./fields.js";
import { audienceText, count, people } from "./format.js";
import { confirmDialog, notice, toast } from "./components.js";
import { isScheduled, scheduleFields, scheduleText } from "./schedule.js";

/**
 * Asks when to launch, and shows the number of recipients. `lastCheck` is the last check, or null. `later`: "Schedule" is
 * chosen at first. `onChange` is called with the launched or scheduled campaign.
 */
export async function launch(campaign, labels, lastCheck, onChange, { later = false } = {}) {
  const errors = errorsOf(lastCheck);
  const forceInput = h("input", { type: "checkbox" });
  const force = h("label", { class: "tick" }, forceInput, "Launch despite the errors that the check found");
  const recipientCount = h("p", { class: "launch-count", role: "status" });
  const when = whenChoice(later, show);
  const schedule = scheduleFields(campaign);
  const confirmLabel = h("span", {});
  const advice = h("div", { class: "launch-advice" });
  let forceOffered = errors > 0;
  let counted = () => "Counting recipients …";
  let changed = null;

  function show() {
    const isLater = when.isLater();
    schedule.element.hidden = !isLater;
    force.hidden = isLater || !forceOffered;
    setContent(confirmLabel, isLater ? "Schedule campaign" : "Launch campaign");
    setContent(recipientCount, counted(isLater));
    setContent(advice, isLater ? laterAdvice(errors) : nowAdvice(campaign));
  }

  const dialog = confirmDialog({
    title: `Launch “${campaign.name}”?`,
    content: [
      recipientCount,
      h(
        "dl",
        { class: "facts" },
        fact("From", [campaign.fromName, `<${campaign.fromEmail}>`].filter(Boolean).join(" ")),
        fact("Subject", campaign.subject),
        fact("Recipients", audienceText(campaign.audience, labels)),
      ),
      when.element,
      schedule.element,
      force,
      advice,
    ],
    confirmLabel,
    async action() {
      changed = when.isLater()
        ? await api.schedule(campaign.id, campaign.version, schedule.value())
        : await api.launch(campaign.id, campaign.version, { force: forceInput.checked });
      onChange(changed);
    },
    onError(error) {
      forceOffered ||= error.type === "/problems/check-found-errors";
      show();
      return (when.isLater() ? showProblem(schedule.fields, error) : null) ?? apiNamesAsLabels(error.message);
    },
  });
  show();
  api.audience(campaign.audience).then(
    (found) => {
      const many = h("b", {}, people(found.count));
      counted = (isLater) => (isLater ? [many, " would receive this email now."] : ["This email will be sent to ", many, "."]);
      show();
    },
    (error) => {
      counted = () => `The number of recipients is not available now. ${error.message}`;
      show();
    },
  );
  if (!(await dialog)) return;
  toast(isScheduled(changed) ? `Campaign scheduled for ${scheduleText(changed)}.` : "Campaign launched. This page shows the results.");
}

/** The choice between now and later: `{element, isLater()}`. */
function whenChoice(later, onSelect) {
  const name = uniqueId("when");
  const radio = (checked) => h("input", { type: "radio", name, checked, autofocus: checked, onchange: onSelect });
  const choice = (input, label, text) => h("label", { class: "choice" }, input, h("span", {}, h("b", {}, label), h("small", {}, text)));
  const now = radio(!later);
  const schedule = radio(later);
  const element = h(
    "fieldset",
    { class: "recipients" },
    h("legend", { class: "visually-hidden" }, "When"),
    choice(now, "Send now", "The emails go out at once."),
    choice(schedule, "Schedule", "The emails go out at a time that you choose."),
  );
  return { element, isLater: () => schedule.checked };
}

function nowAdvice(campaign) {
  return [
    isScheduled(campaign) && notice([h("b", {}, "Sending now replaces the schedule"), ` for ${scheduleText(campaign)}.`], { tone: "warning" }),
    h("p", { class: "quiet" }, "A campaign can be launched only once. You can pause or cancel it during sending, but you cannot take back emails that were sent."),
  ];
}

function laterAdvice(errors) {
  return [
    errors > 0 && notice(`The check found ${count(errors, "error", "errors")}. Correct the draft before the emails go out.`, { tone: "warning" }),
    h("p", { class: "quiet" }, "Until then the campaign stays a draft: you can edit it, change the time or remove the schedule. The recipients are chosen at that time."),
  ];
}

function fact(term, value) {
  return [h("dt", {}, term), h("dd", {}, value)];
}

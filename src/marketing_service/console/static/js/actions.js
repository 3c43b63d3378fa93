/** The actions of a campaign. An action that cannot be undone asks for confirmation first. */

import * as api from "./api.js";
import { errorsOf } from "./preflight.js";
import { h, setContent } from "./dom.js";
import { showErrors, field } from "./fields.js";
import { audienceText, people } from "./format.js";
import { confirmDialog, withBusyButton, button, toast } from "./components.js";
import { go } from "./router.js";

/**
 * Asks for confirmation and launches. The dialog shows the number of recipients. `lastCheck` is the last check, or null.
 * `onLaunched` is called with the launched campaign.
 */
export async function launch(campaign, labels, lastCheck, onLaunched) {
  const recipientCount = h("p", { class: "launch-count", role: "status" }, "Counting recipients …");
  const forceInput = h("input", { type: "checkbox" });
  const errors = errorsOf(lastCheck);
  const force = h("label", { class: "tick", hidden: errors === 0 }, forceInput, "Launch despite the errors that the check found");
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
      force,
      h("p", { class: "quiet" }, "A campaign can be launched only once. You can pause or cancel it during sending, but you cannot take back emails that were sent."),
    ],
    confirmLabel: "Launch campaign",
    action: async () => onLaunched(await api.launch(campaign.id, campaign.version, { force: forceInput.checked })),
    onError(error) {
      if (error.type === "/problems/check-found-errors") force.hidden = false;
    },
  });
  api.audience(campaign.audience).then(
    ({ count }) => setContent(recipientCount, "This email will be sent to ", h("b", {}, people(count)), "."),
    (error) => setContent(recipientCount, `The number of recipients is not available now. ${error.message}`),
  );
  if (await dialog) toast("Campaign launched. This page shows the results.");
}

export async function cancel(campaign, onChange) {
  const done = await confirmDialog({
    title: `Cancel “${campaign.name}”?`,
    content: h("p", {}, "Recipients who have not been sent the email yet will not get it. You cannot undo this."),
    confirmLabel: "Cancel campaign",
    cancelLabel: "Keep sending",
    tone: "danger",
    action: async () => onChange(await api.changeState(campaign.id, "cancel")),
  });
  if (done) toast("Campaign cancelled.");
}

/** Pauses or resumes the campaign. */
export async function changeState(target, campaign, action, onChange) {
  const now = await withBusyButton(target, () => api.changeState(campaign.id, action));
  if (now !== null) onChange(now);
}

export async function duplicate(target, campaign) {
  const copy = await withBusyButton(target, () => api.duplicate(campaign.id));
  if (copy === null) return;
  await go(`/campaigns/${copy.id}`);
  toast("Draft created, with the same message and recipients.");
}

export async function remove(campaign) {
  const done = await confirmDialog({
    title: `Delete “${campaign.name}”?`,
    content: h("p", {}, "No emails were sent for this campaign. You cannot undo this."),
    confirmLabel: "Delete campaign",
    tone: "danger",
    action: () => api.remove(campaign.id, campaign.version),
  });
  if (!done) return;
  await go("", { replace: true });
  toast("Campaign deleted.");
}

export async function sendTest(campaign, address) {
  const recipients = field("to", "Email addresses", {
    value: address.includes("@") ? address : "",
    required: true,
    autocomplete: "email",
    hint: "Up to five addresses, separated by commas.",
  });
  let result = null;
  const done = await confirmDialog({
    title: "Send a test email",
    content: [
      h("p", {}, "The placeholders are filled in for a sample recipient, and the subject starts with [Test]. Test emails do not count in the stats."),
      recipients.element,
    ],
    confirmLabel: "Send test",
    action: async () => {
      result = await api.sendTest(campaign.id, recipients.input.value.split(/[\s,;]+/).filter(Boolean));
    },
    onError: (error) => showErrors([recipients], error.errors ?? []) && null,
  });
  if (!done) return;
  const leftOut = (result?.leftOut ?? []).map((entry) => entry.email);
  toast(`The test email is on its way.${leftOut.length ? ` Left out, because they opted out or are suppressed: ${leftOut.join(", ")}.` : ""}`);
}

export const refreshButton = (onClick) => button("Refresh", onClick, { icon: "refresh" });

function fact(term, value) {
  return [h("dt", {}, term), h("dd", {}, value)];
}

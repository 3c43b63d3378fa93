/** The actions of a campaign, except the launch. An action that cannot be undone asks for confirmation first. */

import * as api from "./api.js";
import { h } from "./dom.js";
import { showProblem, field } from "./fields.js";
import { confirmDialog, withBusyButton, button, toast } from "./components.js";
import { go } from "./router.js";

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

/** Removes the schedule of a draft, or the problem of its last schedule. */
export async function unschedule(target, campaign, onChange) {
  const now = await withBusyButton(target, () => api.unschedule(campaign.id, campaign.version));
  if (now === null) return;
  onChange(now);
  if (campaign.scheduledAt !== null) toast("Schedule removed. The campaign is a draft.");
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
    onError: (error) => showProblem([recipients], error),
  });
  if (!done) return;
  const leftOut = (result?.leftOut ?? []).map((entry) => entry.email);
  toast(`The test email is on its way.${leftOut.length ? ` Left out, because they opted out or are suppressed: ${leftOut.join(", ")}.` : ""}`);
}

export const refreshButton = (onClick) => button("Refresh", onClick, { icon: "refresh" });

/** What can be done with a campaign. Each asks once where it cannot be taken back. */

import * as api from "./api.js";
import { errorsOf } from "./preflight.js";
import { h, put } from "./dom.js";
import { complain, field } from "./fields.js";
import { audience as inWords, people } from "./format.js";
import { ask, busy, button, say } from "./components.js";
import { go } from "./router.js";

/**
 * Asks whether to launch, and says to how many; `last` is the last check, if there is one. `launched` is called with
 * the campaign as it is then.
 */
export async function launch(campaign, labels, last, launched) {
  const whom = h("p", { class: "launch-count", role: "status" }, "Counting who would get it …");
  const insist = h("input", { type: "checkbox" });
  const errors = errorsOf(last);
  const force = h("label", { class: "tick", hidden: errors === 0 }, insist, "Launch it although its check found errors");
  const dialog = ask({
    title: `Launch “${campaign.name}”?`,
    content: [
      whom,
      h(
        "dl",
        { class: "facts" },
        fact("From", [campaign.fromName, `<${campaign.fromEmail}>`].filter(Boolean).join(" ")),
        fact("Subject", campaign.subject),
        fact("Recipients", inWords(campaign.audience, labels)),
      ),
      force,
      h("p", { class: "quiet" }, "A campaign is sent once. It can be paused or cancelled while it is being sent; what has left stays with who got it."),
    ],
    confirm: "Launch campaign",
    act: async () => launched(await api.launch(campaign.id, campaign.version, { force: insist.checked })),
    mended(error) {
      if (error.type === "/problems/check-found-errors") force.hidden = false;
    },
  });
  api.audience(campaign.audience).then(
    ({ count }) => put(whom, "It goes to ", h("b", {}, people(count)), " now."),
    (error) => put(whom, `How many people it goes to cannot be told now: ${error.message}`),
  );
  if (await dialog) say("It is launched. You can watch it here.");
}

export async function cancel(campaign, moved) {
  const done = await ask({
    title: "Cancel the rest?",
    content: h("p", {}, "Who has not been sent it yet will not get it. This cannot be taken back."),
    confirm: "Cancel the rest",
    refuse: "Keep sending",
    tone: "danger",
    act: async () => moved(await api.move(campaign.id, "cancel")),
  });
  if (done) say("Nothing more of it is sent.");
}

/** Pause or resume. */
export async function step(target, campaign, what, moved) {
  const now = await busy(target, () => api.move(campaign.id, what));
  if (now !== null) moved(now);
}

export async function duplicate(target, campaign) {
  const copy = await busy(target, () => api.duplicate(campaign.id));
  if (copy === null) return;
  await go(`/campaigns/${copy.id}`);
  say("This is a new draft, with the same message and recipients.");
}

export async function remove(campaign) {
  const done = await ask({
    title: `Delete “${campaign.name}”?`,
    content: h("p", {}, "Nothing of it was sent. It cannot be brought back."),
    confirm: "Delete campaign",
    tone: "danger",
    act: () => api.remove(campaign.id, campaign.version),
  });
  if (!done) return;
  await go("", { replace: true });
  say("The campaign is deleted.");
}

export async function sendTest(campaign, address) {
  const recipients = field("to", "Addresses", {
    value: address.includes("@") ? address : "",
    required: true,
    autocomplete: "email",
    hint: "Up to five of your own, with commas between them.",
  });
  const done = await ask({
    title: "Send a test",
    content: [
      h("p", {}, "It goes to these addresses, filled in for a made-up recipient, with [Test] before the subject. No figure counts it."),
      recipients.element,
    ],
    confirm: "Send the test",
    act: () => api.test(campaign.id, recipients.input.value.split(/[\s,;]+/).filter(Boolean)),
    mended: (error) => complain([recipients], error.errors ?? []) && null,
  });
  if (done) say("The test is on its way.");
}

export const refreshButton = (act) => button("Refresh", act, { drawing: "refresh" });

function fact(term, value) {
  return [h("dt", {}, term), h("dd", {}, value)];
}

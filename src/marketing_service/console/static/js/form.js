/** The form: a new draft, or one to be changed, with what it will look like beside it. */

import * as api from "./api.js";
import { freshId, h, icon, put, settled } from "./dom.js";
import { complain, field } from "./fields.js";
import { mailView } from "./mailview.js";
import { button, card, notice, say } from "./components.js";
import { recipients } from "./recipients.js";
import { go, to } from "./router.js";

const PLACEHOLDERS = [
  ["First name", "{{ firstName }}"],
  ["Last name", "{{ lastName }}"],
  ["Company", "{{ companyName }}"],
  ["Email", "{{ email }}"],
  ["First name, or “there”", '{{ firstName | default: "there" }}'],
];
const PREVIEW_MILLISECONDS = 350;
const EMPTY = {
  name: "",
  fromName: null,
  fromEmail: "",
  replyTo: null,
  subject: "",
  htmlBody: null,
  textBody: null,
  audience: { type: "ALL", statuses: [] },
  trackClicks: false,
};

export async function newScreen() {
  return formScreen(EMPTY, await statuses());
}

export async function editScreen([id]) {
  const [campaign, known] = await Promise.all([api.campaign(id), statuses()]);
  if (campaign.status !== "DRAFT") {
    await go(`/campaigns/${id}`, { replace: true });
    say("Only drafts can be edited. Duplicate it to send it again, changed.", { tone: "warning" });
  }
  return formScreen(campaign, known);
}

/** The CRM's statuses; null while it does not answer: a message can be written all the same. */
async function statuses() {
  try {
    return (await api.statuses()).items;
  } catch (error) {
    if (error.status === 503) return null;
    throw error;
  }
}

function formScreen(given, known) {
  const campaign = { ...EMPTY, ...given };
  const isNew = campaign.id === undefined;
  const text = (name, label, properties) =>
    field(name, label, { value: campaign[name] ?? "", autocomplete: "off", ...properties });
  const name = text("name", "Name", { required: true, maxlength: 200, hint: "For yourselves. No recipient sees it." });
  const subject = text("subject", "Subject", { required: true, maxlength: 500, wide: true });
  const fields = [
    name,
    text("fromName", "From name", { maxlength: 200, hint: "What mail programs show as the sender." }),
    text("fromEmail", "From email", { type: "email", hint: "Left empty, your installation's own address." }),
    text("replyTo", "Reply to", { type: "email", hint: "Only where answers go to another address." }),
    subject,
  ];
  const html = text("htmlBody", "HTML", {
    area: true, rows: 14, class: "code", spellcheck: "false", wide: true,
    hint: "Most mail programs keep inline CSS only (style=\"…\") and drop <style> and classes.",
  });
  const plain = text("textBody", "Plain text", {
    area: true, rows: 7, class: "code", wide: true,
    hint: "For programs that show no HTML. Left empty, it is made from the HTML.",
  });
  const clicks = h("input", { type: "checkbox", name: "trackClicks", onchange: edited });
  clicks.checked = campaign.trackClicks === true;
  const whom = recipients(campaign.audience, known, edited);
  const all = [...fields, html, plain, whom];
  const seen = mailView({ title: "What is being written" });
  const as = h("select", { id: freshId("as"), onchange: () => look() }, h("option", { value: "" }, "a made-up recipient"));
  const summary = h("div", { role: "alert" });
  const submit = h("button", { class: "button primary", type: "submit" }, isNew ? "Save draft" : "Save");
  let version = campaign.version;
  let saved = JSON.stringify(written());
  let last = html;
  let asking = null;

  function written() {
    const values = { trackClicks: clicks.checked, audience: whom.value() };
    for (const { name: key, input } of [...fields, html, plain]) {
      const typed = key.endsWith("Body") ? input.value : input.value.trim();
      values[key] = typed === "" && !["name", "subject"].includes(key) ? null : typed;
    }
    return values;
  }

  /** What the API is to be told: of a new campaign what is there, of another one what has changed. */
  function changes() {
    const now = written();
    const before = isNew ? EMPTY : campaign;
    return Object.fromEntries(
      Object.entries(now).filter(([key, value]) => JSON.stringify(value ?? "") !== JSON.stringify(before[key] ?? "")),
    );
  }

  function edited() {
    preview();
  }

  const preview = settled(look, PREVIEW_MILLISECONDS);

  async function look() {
    const { subject: typed, htmlBody, textBody } = written();
    asking?.abort();
    if (!htmlBody?.trim() && !textBody?.trim()) return;
    asking = new AbortController();
    const body = { subject: typed === "" ? null : typed, htmlBody, textBody, contactId: as.value || null };
    try {
      const shown = await api.previewUnsaved(body, asking.signal);
      if (!seen.element.isConnected) return;
      [subject, html, plain].forEach((one) => one.complain(""));
      seen.show(shown);
    } catch (error) {
      if (error.name !== "AbortError") seen.complain(`Not as it is written now: ${error.message}`);
    }
  }

  /** The recipients there are now, to look at it as they would. */
  function offerContacts() {
    const chosen = as.value;
    const contacts = whom.sample().map(({ id, firstName, lastName, email }) =>
      h("option", { value: id }, [firstName, lastName].filter(Boolean).join(" ") || email),
    );
    put(as, h("option", { value: "" }, "a made-up recipient"), contacts);
    as.value = [...as.options].some((option) => option.value === chosen) ? chosen : "";
  }

  function insert(placeholder) {
    const { input } = last;
    input.focus();
    // The one way of writing into a field that Undo takes back again.
    if (!document.execCommand("insertText", false, placeholder)) {
      input.setRangeText(placeholder, input.selectionStart, input.selectionEnd, "end");
      edited();
    }
  }

  async function save(event) {
    event.preventDefault();
    submit.disabled = true;
    put(summary);
    try {
      const body = changes();
      const kept = isNew ? await api.create({ ...body, name: name.input.value, subject: subject.input.value }) : await api.change(campaign.id, version, body);
      saved = JSON.stringify(written());
      await go(`/campaigns/${kept.id}`, { replace: true });
      say(isNew ? "The draft is saved." : "Your changes are saved.");
    } catch (error) {
      wrong(error);
    }
    submit.disabled = false;
  }

  function wrong(error) {
    const rest = complain(all, error.errors ?? []);
    const marked = all.filter(({ element: one }) => one.classList.contains("invalid")).length;
    const said = marked > 0 ? "It is not saved yet: see what is marked." : "It is not saved.";
    put(summary, notice([h("b", {}, said), " ", rest.length > 0 ? rest.join(" ") : marked === 0 && error.message], { tone: "danger" }));
    if (error.status === 412) summary.firstChild.append(button("Show what is saved now", reread));
  }

  /** Somebody else saved it meanwhile: from here on what is typed replaces theirs, if it is saved. */
  async function reread() {
    const now = await api.campaign(campaign.id);
    ({ version } = now);
    put(summary, notice([h("b", {}, `“${now.name}”, ${now.subject}`), " is what is saved now. Saving again replaces what you have changed in it."], { tone: "warning" }));
  }

  [subject, html, plain].forEach((one) => one.input.addEventListener("focus", () => (last = one)));
  as.addEventListener("focus", offerContacts);
  as.addEventListener("pointerdown", offerContacts);

  const placeholders = h(
    "div",
    { class: "placeholders", role: "group", "aria-label": "Placeholders" },
    h("span", { class: "quiet" }, "Insert"),
    PLACEHOLDERS.map(([label, code]) => button(label, () => insert(code), { tone: "small", title: code })),
  );
  const tracking = h(
    "label",
    { class: "tick" },
    clicks,
    h("span", {}, "Count clicks", h("small", { class: "hint" }, "Its links then lead through this service, which says who follows them how often.")),
  );
  const form = h(
    "form",
    { class: "form", novalidate: true, onsubmit: save, oninput: edited },
    summary,
    card("Basics", h("div", { class: "fields" }, fields.map((one) => one.element))),
    card("Message", [placeholders, html.element, plain.element, tracking]),
    card("Recipients", whom.element),
    h("div", { class: "form-end" }, h("a", { class: "button", href: to(isNew ? "" : `/campaigns/${campaign.id}`) }, "Cancel"), submit),
  );
  const beside = card("Preview", [h("p", { class: "as" }, h("label", { for: as.id }, "As it reaches "), as), seen.element]);
  beside.classList.add("beside");
  seen.complain("Nothing is written yet.");
  look();

  const heading = isNew ? "New campaign" : `Edit ${campaign.name}`;
  const back = isNew ? h("a", { href: to("") }, icon("arrow"), "Campaigns") : h("a", { href: to(`/campaigns/${campaign.id}`) }, icon("arrow"), campaign.name);
  return {
    title: heading,
    element: h(
      "div",
      {},
      h("div", { class: "page-head" }, h("div", {}, h("nav", { class: "back", "aria-label": "Back" }, back), h("h1", { tabindex: "-1" }, heading))),
      h("div", { class: "writing" }, form, beside),
    ),
    unsaved: () => JSON.stringify(written()) !== saved,
    leave: () => asking?.abort(),
  };
}

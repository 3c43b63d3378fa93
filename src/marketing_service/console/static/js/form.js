/** The form for a new or an existing draft, with a live preview next to it. */

import * as api from "./api.js";
import { uniqueId, h, icon, setContent, debounce } from "./dom.js";
import { showErrors, field } from "./fields.js";
import { mailView } from "./mailview.js";
import { button, card, notice, toast } from "./components.js";
import { LANGUAGES } from "./format.js";
import { recipients } from "./recipients.js";
import { go, to } from "./router.js";

const PLACEHOLDERS = [
  ["First name", "{{ firstName }}"],
  ["Last name", "{{ lastName }}"],
  ["Company", "{{ companyName }}"],
  ["Email", "{{ email }}"],
  ["First name, or “there”", '{{ firstName | default: "there" }}'],
  ["Unsubscribe link", "{{ unsubscribeUrl }}"],
];
const PREVIEW_MILLISECONDS = 350;
const EMPTY = {
  name: "",
  fromName: null,
  fromEmail: "",
  replyTo: null,
  subject: "",
  preheader: null,
  htmlBody: null,
  textBody: null,
  audience: { type: "ALL", statuses: [] },
  trackClicks: false,
  language: null,
};

export async function newScreen() {
  return formScreen(EMPTY, await statuses());
}

export async function editScreen([id]) {
  const [campaign, crmStatuses] = await Promise.all([api.campaign(id), statuses()]);
  if (campaign.status !== "DRAFT") {
    await go(`/campaigns/${id}`, { replace: true });
    toast("Only drafts can be edited. To change this campaign and send it again, duplicate it.", { tone: "warning" });
  }
  return formScreen(campaign, crmStatuses);
}

/** The CRM's statuses, or null if the CRM does not respond. The other fields work without them. */
async function statuses() {
  try {
    return (await api.statuses()).items;
  } catch (error) {
    if (error.status === 503) return null;
    throw error;
  }
}

function formScreen(given, crmStatuses) {
  const campaign = { ...EMPTY, ...given };
  const isNew = campaign.id === undefined;
  const text = (name, label, properties) =>
    field(name, label, { value: campaign[name] ?? "", autocomplete: "off", ...properties });
  const name = text("name", "Name", { required: true, maxlength: 200, hint: "For internal use. Recipients do not see it." });
  const subject = text("subject", "Subject", { required: true, maxlength: 500, wide: true });
  const preheader = text("preheader", "Preheader", {
    maxlength: 200, wide: true,
    hint: "Inboxes show this text after the subject. The message itself does not show it.",
  });
  const fields = [
    name,
    text("fromName", "From name", { maxlength: 200, hint: "Email clients show this name as the sender." }),
    text("fromEmail", "From email", { type: "email", hint: "Leave empty to use the default address of your installation." }),
    text("replyTo", "Reply to", { type: "email", hint: "Leave empty if replies should go to the From address." }),
    subject,
    preheader,
  ];
  const html = text("htmlBody", "HTML", {
    area: true, rows: 14, class: "code", spellcheck: "false", wide: true,
    hint: "Use inline CSS (style=\"…\"). Most email clients ignore <style> and classes.",
  });
  const plain = text("textBody", "Plain text", {
    area: true, rows: 7, class: "code", wide: true,
    hint: "For email clients that do not show HTML. Leave empty to generate it from the HTML.",
  });
  const language = text("language", "Language", {
    options: [...(isNew ? [["", "Default of this installation"]] : []), ...Object.entries(LANGUAGES)],
    hint: "The language of the unsubscribe link that is added at the end. No link is added if you insert your own.",
  });
  const clicks = h("input", { type: "checkbox", name: "trackClicks", onchange: edited });
  clicks.checked = campaign.trackClicks === true;
  const recipientsField = recipients(campaign.audience, crmStatuses, edited);
  const all = [...fields, html, plain, language, recipientsField];
  const previewPane = mailView({ title: "Preview" });
  const previewAs = h("select", { id: uniqueId("preview-as"), onchange: () => updatePreview() }, h("option", { value: "" }, "a sample recipient"));
  const summary = h("div", { role: "alert" });
  const submit = h("button", { class: "button primary", type: "submit" }, isNew ? "Save draft" : "Save");
  let version = campaign.version;
  let saved = JSON.stringify(formValues());
  let focusedField = html;
  let controller = null;

  function formValues() {
    const values = { trackClicks: clicks.checked, audience: recipientsField.value() };
    for (const { name: key, input } of [...fields, html, plain, language]) {
      const typed = key.endsWith("Body") ? input.value : input.value.trim();
      values[key] = typed === "" && !["name", "subject"].includes(key) ? null : typed;
    }
    return values;
  }

  /** The body of the API request: all values of a new campaign, or the changed values of an existing one. */
  function changes() {
    const now = formValues();
    const before = isNew ? EMPTY : campaign;
    return Object.fromEntries(
      Object.entries(now).filter(([key, value]) => JSON.stringify(value ?? "") !== JSON.stringify(before[key] ?? "")),
    );
  }

  function edited() {
    preview();
  }

  const preview = debounce(updatePreview, PREVIEW_MILLISECONDS);

  async function updatePreview() {
    const { subject: typed, preheader: typedPreheader, htmlBody, textBody, language: code } = formValues();
    controller?.abort();
    if (!htmlBody?.trim() && !textBody?.trim()) return;
    controller = new AbortController();
    const body = {
      subject: typed === "" ? null : typed,
      preheader: typedPreheader,
      htmlBody,
      textBody,
      language: code,
      contactId: previewAs.value || null,
    };
    try {
      const shown = await api.previewUnsaved(body, controller.signal);
      if (!previewPane.element.isConnected) return;
      [subject, preheader, html, plain].forEach((one) => one.setError(""));
      previewPane.show(shown);
    } catch (error) {
      if (error.name !== "AbortError") previewPane.showWarning(`The preview could not be updated. ${error.message}`);
    }
  }

  /** Fills the list of contacts that the preview can be shown for with a sample of the current recipients. */
  function fillContactOptions() {
    const chosen = previewAs.value;
    const contacts = recipientsField.sample().map(({ id, firstName, lastName, email }) =>
      h("option", { value: id }, [firstName, lastName].filter(Boolean).join(" ") || email),
    );
    setContent(previewAs, h("option", { value: "" }, "a sample recipient"), contacts);
    previewAs.value = [...previewAs.options].some((option) => option.value === chosen) ? chosen : "";
  }

  function insert(placeholder) {
    const { input } = focusedField;
    input.focus();
    // Deprecated, but the only way to insert text so that the browser's Undo works.
    if (!document.execCommand("insertText", false, placeholder)) {
      input.setRangeText(placeholder, input.selectionStart, input.selectionEnd, "end");
      edited();
    }
  }

  async function save(event) {
    event.preventDefault();
    submit.disabled = true;
    setContent(summary);
    try {
      const body = changes();
      const savedCampaign = isNew ? await api.create({ ...body, name: name.input.value, subject: subject.input.value }) : await api.update(campaign.id, version, body);
      saved = JSON.stringify(formValues());
      await go(`/campaigns/${savedCampaign.id}`, { replace: true });
      toast(isNew ? "Draft saved." : "Changes saved.");
    } catch (error) {
      showSaveError(error);
    }
    submit.disabled = false;
  }

  function showSaveError(error) {
    const others = showErrors(all, error.errors ?? []);
    const marked = all.filter(({ element: one }) => one.classList.contains("invalid")).length;
    const text = marked > 0 ? "Not saved. Correct the marked fields." : "Not saved.";
    setContent(summary, notice([h("b", {}, text), " ", others.length > 0 ? others.join(" ") : marked === 0 && error.message], { tone: "danger" }));
    if (error.status === 412) summary.firstChild.append(button("Show saved version", showSavedVersion));
  }

  /** Another user has saved the campaign. Shows their version. From now on, saving replaces the fields changed here. */
  async function showSavedVersion() {
    const now = await api.campaign(campaign.id);
    ({ version } = now);
    setContent(summary, notice(["The saved version is ", h("b", {}, `“${now.name}”, ${now.subject}`), ". If you save again, the fields that you changed replace it."], { tone: "warning" }));
  }

  [subject, preheader, html, plain].forEach((one) => one.input.addEventListener("focus", () => (focusedField = one)));
  previewAs.addEventListener("focus", fillContactOptions);
  previewAs.addEventListener("pointerdown", fillContactOptions);

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
    h("span", {}, "Track clicks", h("small", { class: "hint" }, "Links go through this service, which counts who clicks them and how often.")),
  );
  const form = h(
    "form",
    { class: "form", novalidate: true, onsubmit: save, oninput: edited },
    summary,
    card("Basics", h("div", { class: "fields" }, fields.map((one) => one.element))),
    card("Message", [placeholders, html.element, plain.element, language.element, tracking]),
    card("Recipients", recipientsField.element),
    h("div", { class: "form-end" }, h("a", { class: "button", href: to(isNew ? "" : `/campaigns/${campaign.id}`) }, "Cancel"), submit),
  );
  const previewCard = card("Preview", [h("p", { class: "preview-as" }, h("label", { for: previewAs.id }, "Preview as "), previewAs), previewPane.element]);
  previewCard.classList.add("preview");
  previewPane.showWarning("The message is empty.");
  updatePreview();

  const heading = isNew ? "New campaign" : `Edit ${campaign.name}`;
  const back = isNew ? h("a", { href: to("") }, icon("arrow"), "Campaigns") : h("a", { href: to(`/campaigns/${campaign.id}`) }, icon("arrow"), campaign.name);
  return {
    title: heading,
    element: h(
      "div",
      {},
      h("div", { class: "page-head" }, h("div", {}, h("nav", { class: "back", "aria-label": "Back" }, back), h("h1", { tabindex: "-1" }, heading))),
      h("div", { class: "editor" }, form, previewCard),
    ),
    unsaved: () => JSON.stringify(formValues()) !== saved,
    leave: () => controller?.abort(),
  };
}

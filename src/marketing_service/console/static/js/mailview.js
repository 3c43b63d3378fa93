/**
 * Shows a mail in a frame. The frame's Content Security Policy allows inline styles and nothing else: no scripts (the
 * sandbox forbids them too), no forms, and external images only after the user asks for them.
 */

import { h, setContent } from "./dom.js";
import { notice, pills } from "./components.js";
import { CONSOLE } from "./paths.js";

const FRAMES = { false: `${CONSOLE}/static/mail.html`, true: `${CONSOLE}/static/mail-with-images.html` };
const MOBILE_WIDTH = "375px";
const MAX_HEIGHT = 1600;
/** The invisible characters after a preheader, which fill the line of an inbox. */
const FILLER = /[\u034f\u200c\u00a0\s]+$/;

/** `{element, show(preview), showWarning(text)}`. */
export function mailView({ title = "Message" } = {}) {
  let preview = null;
  let ready = false;
  let view = "desktop";
  let observer = null;

  const frame = h("iframe", {
    title,
    sandbox: "allow-same-origin allow-popups allow-popups-to-escape-sandbox",
    src: FRAMES.false,
    onload: loaded,
  });
  const plain = h("pre", { class: "plain", hidden: true, tabindex: "0", "aria-label": "Plain text" });
  const subject = h("p", { class: "mail-subject" });
  const preheader = h("span", { class: "quiet" });
  const warning = h("div", { role: "status" });
  const images = h("input", { type: "checkbox", onchange: reload });
  const stage = h("div", { class: "stage desktop", hidden: true }, frame, plain);
  const kinds = [["desktop", "Desktop"], ["mobile", "Mobile"], ["plain", "Plain text"]];
  const tools = h(
    "div",
    { class: "mail-tools" },
    pills("Preview mode", kinds, [view], ([chosen]) => {
      view = chosen;
      updateLayout();
    }),
    h("label", { class: "tick" }, images, "Load images"),
  );

  function reload() {
    ready = false;
    frame.src = FRAMES[images.checked];
  }

  function loaded() {
    ready = true;
    fill();
  }

  function fill() {
    if (!ready || preview === null) return;
    const page = frame.contentDocument;
    // The frame's document parses the HTML under the frame's policy. Scripts set by innerHTML never run (HTML §13.5).
    page.documentElement.innerHTML = preview.html;
    const hidden = page.querySelector("[data-preheader]")?.textContent.replace(FILLER, "").trim();
    setContent(preheader, hidden && ` — ${hidden}`);
    for (const link of page.querySelectorAll("a[href], area[href]")) {
      link.target = "_blank";
      link.rel = "noopener noreferrer";
    }
    observer?.disconnect();
    observer = new ResizeObserver(measure);
    observer.observe(page.body);
    measure();
  }

  function measure() {
    const page = frame.contentDocument;
    if (page?.body == null) return;
    const { marginTop, marginBottom } = getComputedStyle(page.body);
    const height = Math.ceil(page.body.offsetHeight + parseFloat(marginTop) + parseFloat(marginBottom));
    frame.style.height = `${Math.min(Math.max(height, 160), MAX_HEIGHT)}px`;
  }

  function updateLayout() {
    stage.className = `stage ${view}`;
    frame.hidden = view === "plain";
    plain.hidden = view !== "plain";
    frame.style.width = view === "mobile" ? MOBILE_WIDTH : "100%";
    if (view !== "plain") measure();
  }

  return {
    element: h("div", { class: "mail" }, tools, subject, warning, stage),
    show(next) {
      preview = next;
      stage.hidden = false;
      setContent(subject, h("span", { class: "quiet" }, "Subject "), preview.subject || h("i", {}, "no subject"), preheader);
      setContent(plain, preview.text);
      setContent(warning);
      fill();
    },
    showWarning(text) {
      setContent(warning, notice(text, { tone: "warning" }));
    },
  };
}

/**
 * A mail, shown in a frame. The frame's own policy allows the mail's inline styles, and nothing else: no script (its
 * sandbox has none either), no form, and images from elsewhere only where the person asks for them.
 */

import { h, put } from "./dom.js";
import { notice, pills } from "./components.js";

const FRAMES = { false: "/marketing/static/mail.html", true: "/marketing/static/mail-with-images.html" };
const TELEPHONE = "375px";
const TALLEST = 1600;

/** `{element, show(preview), complain(text)}`. */
export function mailView({ title = "The message" } = {}) {
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
  const trouble = h("div", { role: "status" });
  const images = h("input", { type: "checkbox", onchange: reload });
  const stage = h("div", { class: "stage desktop", hidden: true }, frame, plain);
  const kinds = [["desktop", "Desktop"], ["telephone", "Telephone"], ["plain", "Plain text"]];
  const tools = h(
    "div",
    { class: "mail-tools" },
    pills("Show it as", kinds, [view], ([chosen]) => {
      view = chosen;
      layOut();
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
    // Read as HTML by the frame's document, under the frame's policy. Scripts in what is set so never run (HTML §13.5).
    page.documentElement.innerHTML = preview.html;
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
    const tall = Math.ceil(page.body.offsetHeight + parseFloat(marginTop) + parseFloat(marginBottom));
    frame.style.height = `${Math.min(Math.max(tall, 160), TALLEST)}px`;
  }

  function layOut() {
    stage.className = `stage ${view}`;
    frame.hidden = view === "plain";
    plain.hidden = view !== "plain";
    frame.style.width = view === "telephone" ? TELEPHONE : "100%";
    if (view !== "plain") measure();
  }

  return {
    element: h("div", { class: "mail" }, tools, subject, trouble, stage),
    show(next) {
      preview = next;
      stage.hidden = false;
      put(subject, h("span", { class: "quiet" }, "Subject "), preview.subject || h("i", {}, "none yet"));
      put(plain, preview.text);
      put(trouble);
      fill();
    },
    complain(text) {
      put(trouble, notice(text, { tone: "warning" }));
    },
  };
}

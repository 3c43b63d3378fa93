/** An import into the suppression list: the dialog that chooses the file, its progress, and the rows that were not taken. */

import * as api from "./api.js";
import { h, setContent } from "./dom.js";
import { field } from "./fields.js";
import { count, number } from "./format.js";
import { announce, button, card, confirmDialog, notice } from "./components.js";

const POLL_MILLISECONDS = 1000;
const MAX_BYTES = 30_000_000;
const SHOWN_ROWS = 10;
const ACCEPT = ".csv,.tsv,.txt,text/csv,text/tab-separated-values,text/plain";

/** Asks for a file and imports it. Returns the import, which may not be finished; null if the user cancels. */
export async function importDialog() {
  const hint = "As Excel or another spreadsheet saves it. A column “email” has the addresses, and a column “note” is optional. At most 30 MB and 250,000 rows.";
  const file = field("file", "CSV file", { type: "file", accept: ACCEPT, hint });
  let imported = null;
  const done = await confirmDialog({
    title: "Import addresses from a CSV file",
    content: file.element,
    confirmLabel: "Import",
    action: async () => {
      const [chosen] = file.input.files;
      if (chosen === undefined) throw new Error("Choose a file first.");
      if (chosen.size > MAX_BYTES) throw new Error("The file is larger than 30 MB. Split it into several files.");
      imported = await api.suppressCsv(chosen);
    },
  });
  return done ? imported : null;
}

/**
 * Shows one import, and reads it again until it is finished: `{element, show(import), open(id), leave()}`. `onFinished`
 * is called when an import that was not finished ends, and `onClose` when the user closes the result.
 */
export function importPanel({ onFinished, onClose }) {
  const element = h("div", { class: "import" });
  let timer = 0;
  let shown = 0;

  function show(one) {
    clearTimeout(timer);
    shown += 1;
    if (one === null) setContent(element);
    else if (one.finished) setContent(element, result(one, close));
    else {
      showProgress(element, one);
      timer = setTimeout(() => poll(one), POLL_MILLISECONDS);
    }
  }

  async function poll(last) {
    const before = shown;
    let one = last;
    try {
      one = await api.nullIfNotFound(api.suppressionImport(last.id));
    } catch {
      // The import continues on the server. The next poll tries again.
    }
    // The user may have left the page, or started another import.
    if (!element.isConnected || shown !== before) return;
    show(one);
    if (!one?.finished) return;
    await onFinished();
    announceResult(one);
  }

  function close() {
    show(null);
    onClose();
  }

  return {
    element,
    show,
    /** Shows the import with this id. Without an id, or if it no longer exists: the last one, if it is not finished. */
    async open(id) {
      const before = shown;
      try {
        const one = (id && (await api.nullIfNotFound(api.suppressionImport(id)))) || (await lastUnfinished());
        // The user may have started an import meanwhile.
        if (shown === before) show(one);
      } catch {
        // The list is more important than the progress of an import.
      }
    },
    leave: () => clearTimeout(timer),
  };
}

/** Tells screen readers the result of a finished import. */
export function announceResult(one) {
  announce(`Import finished. Added: ${number(one.added)}. Rows that were not taken: ${number(one.rejectedRows)}.`);
}

async function lastUnfinished() {
  const { items } = await api.suppressionImports({ limit: 1 });
  return items.length === 0 || items[0].finished ? null : items[0];
}

/** The bar is changed in place, so that screen readers and animations see one bar. */
function showProgress(element, { rows, done }) {
  const text = `${number(done)} of ${count(rows, "row", "rows")} done. You may leave this page: the import continues.`;
  const bar = element.querySelector("progress");
  if (bar === null) {
    const label = h("p", { class: "quiet" }, text);
    setContent(element, card("Import in progress", [h("progress", { max: rows, value: done, "aria-label": "Progress of the import" }), label]));
    return;
  }
  bar.value = done;
  setContent(bar.nextElementSibling, text);
}

function sumOf({ added, known, repeated }) {
  const more = repeated === 0 ? "" : ` ${count(repeated, "address is", "addresses are")} in the file more than once.`;
  return `${count(added, "address", "addresses")} added, ${number(known)} already in the list.${more}`;
}

function result(one, close) {
  const closeButton = button("Close", close, { tone: "small" });
  const sum = h("p", {}, sumOf(one));
  if (one.rejectedRows === 0) return withAction(notice(sum, { tone: "good" }), closeButton);
  const { rejected = [] } = one;
  const first = rejected.slice(0, SHOWN_ROWS).map(rejectedRow);
  const others = rejected.slice(SHOWN_ROWS).map(rejectedRow);
  const unlisted = one.rejectedRows - rejected.length;
  const text = [
    sum,
    h("p", {}, `${count(one.rejectedRows, "row was", "rows were")} not taken:`),
    h("ul", {}, first),
    others.length > 0 && h("details", {}, h("summary", {}, `Show ${count(others.length, "more row", "more rows")}`), h("ul", {}, others)),
    unlisted > 0 && h("p", { class: "quiet" }, `${count(unlisted, "further row is", "further rows are")} not listed.`),
  ];
  return withAction(notice(text, { tone: "warning" }), closeButton);
}

function withAction(element, action) {
  element.append(h("div", { class: "actions" }, action));
  return element;
}

function rejectedRow({ line, value, message }) {
  return h("li", {}, `Line ${line}: `, value === "" ? "(blank)" : h("code", {}, value), " ", h("small", {}, message));
}

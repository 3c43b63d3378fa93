/** A paged list. A filter loads it again. "Show more" adds a page and moves the focus to its first row. */

import { setContent } from "./dom.js";
import { withBusyButton, errorMessage, announce, moreButton } from "./components.js";
import { setQuery } from "./router.js";

export const PAGE = 50;

/**
 * Shows the first page, and more pages on request.
 *
 * `filters`: the filters by name, as in the API and in the URL. `load`: returns a page for a query. `rows` and `footer`:
 * the elements for the rows and for the content below them. `row`: creates a row, with a link or a header cell that can
 * get the focus. `plural`: what the items are called, for screen readers. `empty`: creates the content for an empty list.
 */
export function paged({ first, filters, load, rows, footer, row, plural, empty }) {
  let page = first;
  let items = page.items;
  let controller = null;

  async function filter(change = {}) {
    Object.assign(filters, change);
    setQuery(new URLSearchParams(Object.entries(filters).flatMap(([name, value]) => [value].flat().filter(Boolean).map((item) => [name, item]))));
    controller?.abort();
    controller = new AbortController();
    try {
      page = await load({ ...filters, limit: PAGE }, controller.signal);
    } catch (error) {
      if (error.name !== "AbortError") setContent(footer, errorMessage(error, () => filter()));
      return;
    }
    items = page.items;
    show();
    announce(items.length === 0 ? `No ${plural} found` : `${items.length}${page.nextCursor === null ? "" : " or more"} ${plural}`);
  }

  async function loadMore(event) {
    const next = await withBusyButton(event.currentTarget, () => load({ ...filters, limit: PAGE, cursor: page.nextCursor }));
    if (next === null) return;
    page = next;
    items = [...items, ...page.items];
    const added = page.items.map(row);
    rows.append(...added);
    showBelow();
    added[0]?.querySelector("a, th").focus({ preventScroll: true });
    announce(`${items.length} ${plural} shown`);
  }

  function show() {
    setContent(rows, items.map(row));
    const table = rows.closest("table");
    if (table !== null) table.hidden = items.length === 0;
    showBelow();
  }

  function showBelow() {
    setContent(footer, items.length === 0 ? empty() : page.nextCursor !== null && moreButton(loadMore));
  }

  show();
  return {
    filter,
    /** The items of all loaded pages. */
    items: () => items,
    /** Replaces an item. Returns its new row, or null if the item is not in the list. */
    replace(id, item) {
      const index = items.findIndex((known) => known.id === id);
      if (index < 0) return null;
      items[index] = item;
      const newRow = row(item);
      rows.children[index].replaceWith(newRow);
      return newRow;
    },
    stop: () => controller?.abort(),
  };
}

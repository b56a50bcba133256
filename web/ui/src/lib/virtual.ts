/** Rows drawn beyond the window's edges, so that a quick scroll shows no blank. */
const MARGIN = 8;

/**
 * Which rows of a long list are in sight.
 *
 * @param scrolled Pixels of the list above the window's top edge; negative while the list begins further down.
 * @returns First row, and one past the last.
 */
export function visibleRows(
  scrolled: number,
  windowHeight: number,
  rowHeight: number,
  count: number,
): { first: number; last: number } {
  const first = Math.max(0, Math.min(count, Math.floor(scrolled / rowHeight) - MARGIN));
  const last = Math.max(first, Math.min(count, Math.ceil((scrolled + windowHeight) / rowHeight) + MARGIN));
  return { first, last };
}

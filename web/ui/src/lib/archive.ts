interface Listed {
  id: string;
  planned_start: string | null;
}

const at = (item: Listed | undefined): number => (item?.planned_start ? Date.parse(item.planned_start) : Infinity);

/**
 * A list that was read page by page, newest first, with its head read anew: what was read below that stays, and so does
 * the place in it.
 */
export function withFreshHead<T extends Listed>(known: readonly T[], head: readonly T[]): T[] {
  const fresh = new Set(head.map((item) => item.id));
  const end = at(head.at(-1));
  return [...head, ...known.filter((item) => !fresh.has(item.id) && at(item) <= end)];
}

/**
 * Between the clock on the wall and the seconds of a player.
 *
 * A recording with gaps is one playlist whose media time has no holes, so each fragment says which wall-clock time it
 * begins at (EXT-X-PROGRAM-DATE-TIME, RFC 8216 section 4.3.2.6) and the two clocks are related fragment by fragment.
 */
export interface DatedFragment {
  /** Media time at which the fragment begins, in seconds. */
  start: number;
  /** Length in seconds. */
  duration: number;
  /** Wall-clock time at which it begins, Unix milliseconds. */
  programDateTime: number | null;
}

/**
 * About which media time a moment has, before the playlist is known: what is recorded before it, in seconds.
 *
 * @param spans Recorded stretches in order, Unix milliseconds.
 */
export function expectedMediaTime(spans: readonly { start: number; end: number }[], moment: number): number {
  return spans.reduce((sum, span) => sum + Math.max(0, Math.min(span.end, moment) - span.start) / 1000, 0);
}

/** Media time of a moment: inside its fragment, or the beginning of the next one where the moment falls in a gap. */
export function mediaTimeAt(fragments: readonly DatedFragment[], moment: number): number | null {
  let last: number | null = null;
  for (const fragment of fragments) {
    if (fragment.programDateTime === null) continue;
    const into = (moment - fragment.programDateTime) / 1000;
    if (into < 0) return fragment.start;
    if (into < fragment.duration) return fragment.start + into;
    last = fragment.start + fragment.duration;
  }
  return last;
}

/** Whether a playlist that may still grow reaches a moment already. */
export function reaches(fragments: readonly DatedFragment[], moment: number): boolean {
  const last = fragments[fragments.length - 1];
  return last?.programDateTime == null || moment < last.programDateTime + last.duration * 1000;
}

/** Moment at a media time; beyond the last fragment it goes on from there. */
export function momentAtMediaTime(fragments: readonly DatedFragment[], mediaTime: number): number | null {
  let found: DatedFragment | null = null;
  for (const fragment of fragments) {
    if (fragment.programDateTime === null) continue;
    if (found !== null && fragment.start > mediaTime) break;
    found = fragment;
  }
  if (found?.programDateTime == null) return null;
  return found.programDateTime + (mediaTime - found.start) * 1000;
}

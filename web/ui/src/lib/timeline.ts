/** Geometry of the timeline under the picture. Pure; times are Unix milliseconds, places are 0 to 1. */

export interface Interval {
  start: number;
  end: number;
}

export interface Block extends Interval {
  left: number;
  width: number;
}

/** Limits a value to a range. */
export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

/** Place of a moment within a range; moments outside are laid at its ends. */
export function placeOf(moment: number, range: Interval): number {
  const length = range.end - range.start;
  return length <= 0 ? 0 : clamp((moment - range.start) / length, 0, 1);
}

/** Moment at a place within a range. */
export function momentAt(place: number, range: Interval): number {
  return range.start + clamp(place, 0, 1) * (range.end - range.start);
}

/** Blocks to draw for intervals within a range; what lies outside is left out, what crosses an end is cut. */
export function blocksOf<T extends Interval>(intervals: readonly T[], range: Interval): (T & Block)[] {
  return intervals
    .filter((interval) => interval.end > range.start && interval.start < range.end)
    .map((interval) => {
      const left = placeOf(interval.start, range);
      return { ...interval, left, width: placeOf(interval.end, range) - left };
    });
}

const STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600];

/** Round moments to label, at most `most` of them, none closer to an end than half a step. */
export function ticksOf(range: Interval, most: number): number[] {
  const length = range.end - range.start;
  if (length <= 0 || most < 1) return [];
  const stepS = STEPS_S.find((step) => length / (step * 1000) <= most) ?? 86400;
  const step = stepS * 1000;
  const ticks: number[] = [];
  for (let tick = Math.ceil(range.start / step) * step; tick <= range.end; tick += step) ticks.push(tick);
  return ticks;
}

/**
 * What a timeline spans. A meeting that runs shows room to grow, so that the live edge does not stick to the frame;
 * the room is a share of what there is, and ends at the planned end while that lies ahead.
 */
export function rangeOf(start: number, end: number | null, now: number, plannedEnd: number | null): Interval {
  if (end !== null) return { start, end: Math.max(end, start + 1000) };
  const elapsed = Math.max(now - start, 60_000);
  const roomy = start + elapsed * 1.06;
  const planned = plannedEnd !== null && plannedEnd > now && plannedEnd - start < elapsed * 1.25 ? plannedEnd : 0;
  return { start, end: Math.max(roomy, planned) };
}

/** The nearest recorded moment at or after `moment`, else the last one before it; null where nothing is recorded. */
export function nearestRecorded(moment: number, spans: readonly Interval[]): number | null {
  let last: number | null = null;
  for (const span of spans) {
    if (moment < span.end) return Math.max(moment, span.start);
    last = span.end;
  }
  return last;
}

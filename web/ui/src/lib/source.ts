/** Which of a meeting's sources the player should show. Pure. */
import type { Interval } from "@/lib/timeline";
import { nearestRecorded } from "@/lib/timeline";

export interface Sources {
  /** Live playlist; null where there is nothing live for this camera. */
  live: string | null;
  /** WHEP address of the same picture, for browsers that speak WebRTC; a second behind the room less. */
  rtc?: string | null;
  /** Playlist of what is recorded; null while there is none. */
  recorded: string | null;
}

export type Choice =
  { kind: "live"; url: string; rtc: string | null } | { kind: "recorded"; url: string; at: number } | { kind: "none" };

/** Closer than this to now, a click on the timeline means the live picture. Milliseconds. */
export const LIVE_REACH_MS = 8000;

/** What to show when the page opens, or when a meeting has ended while it was watched. */
export function openingChoice(sources: Sources, running: boolean, spans: readonly Interval[], start: number): Choice {
  if (running && sources.live) return liveOf(sources.live, sources.rtc);
  return recordedAt(sources, nearestRecorded(start, spans) ?? start, spans);
}

/** What to show for a moment that somebody chose on the timeline. */
export function choiceAt(
  sources: Sources,
  running: boolean,
  spans: readonly Interval[],
  moment: number,
  now: number,
): Choice {
  if (running && sources.live && moment >= now - LIVE_REACH_MS) return liveOf(sources.live, sources.rtc);
  const choice = recordedAt(sources, moment, spans);
  if (choice.kind === "none" && running && sources.live) return liveOf(sources.live, sources.rtc);
  return choice;
}

function liveOf(url: string, rtc: string | null | undefined): Choice {
  return { kind: "live", url, rtc: rtc ?? null };
}

function recordedAt(sources: Sources, moment: number, spans: readonly Interval[]): Choice {
  if (!sources.recorded || spans.length === 0) return { kind: "none" };
  const at = nearestRecorded(moment, spans);
  return at === null ? { kind: "none" } : { kind: "recorded", url: sources.recorded, at };
}

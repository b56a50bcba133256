import { describe, expect, it } from "vitest";
import { expectedMediaTime, mediaTimeAt, momentAtMediaTime, reaches } from "@/lib/mediatime";
import { choiceAt, LIVE_REACH_MS, openingChoice } from "@/lib/source";

// Two stretches of 4 s fragments with 11 s missing between them.
const fragments = [
  { start: 0, duration: 4, programDateTime: 100_000 },
  { start: 4, duration: 4, programDateTime: 104_000 },
  { start: 8, duration: 4, programDateTime: 119_000 },
];
const spans = [
  { start: 100_000, end: 108_000 },
  { start: 119_000, end: 123_000 },
];

describe("media time", () => {
  it("follows the clock inside a stretch", () => {
    expect(mediaTimeAt(fragments, 105_500)).toBe(5.5);
    expect(momentAtMediaTime(fragments, 5.5)).toBe(105_500);
  });

  it("passes over a gap", () => {
    expect(mediaTimeAt(fragments, 112_000)).toBe(8);
    expect(mediaTimeAt(fragments, 120_000)).toBe(9);
    expect(momentAtMediaTime(fragments, 9)).toBe(120_000);
  });

  it("ends at the ends", () => {
    expect(mediaTimeAt(fragments, 0)).toBe(0);
    expect(mediaTimeAt(fragments, 999_000)).toBe(12);
    expect(mediaTimeAt([], 5)).toBeNull();
    expect(momentAtMediaTime([], 5)).toBeNull();
  });

  it("reaches up to its last fragment's end", () => {
    expect(reaches(fragments, 112_000)).toBe(true);
    expect(reaches(fragments, 122_999)).toBe(true);
    expect(reaches(fragments, 123_000)).toBe(false);
    expect(reaches([], 5)).toBe(true);
  });

  it("passes over fragments that do not say their time", () => {
    const some = [{ start: 0, duration: 4, programDateTime: null }, ...fragments];
    expect(mediaTimeAt(some, 101_000)).toBe(1);
  });

  it("is expected from what is recorded before", () => {
    expect(expectedMediaTime(spans, 99_000)).toBe(0);
    expect(expectedMediaTime(spans, 104_000)).toBe(4);
    expect(expectedMediaTime(spans, 112_000)).toBe(8);
    expect(expectedMediaTime(spans, 120_000)).toBe(9);
  });
});

describe("choice of the source", () => {
  const both = { live: "live.m3u8", recorded: "vod.m3u8" };
  const now = 130_000;

  it("is live while the meeting runs, and the recording's beginning once it has ended", () => {
    expect(openingChoice(both, true, spans, 99_000)).toEqual({ kind: "live", url: "live.m3u8", rtc: null });
    expect(openingChoice({ ...both, live: null }, false, spans, 99_000)).toEqual({
      kind: "recorded",
      url: "vod.m3u8",
      at: 100_000,
    });
  });

  it("is nothing where there is nothing", () => {
    expect(openingChoice({ live: null, recorded: null }, false, [], 0).kind).toBe("none");
    expect(openingChoice({ live: null, recorded: "vod.m3u8" }, false, [], 0).kind).toBe("none");
  });

  it("looks back into a meeting that goes on, and comes back to live near its edge", () => {
    expect(choiceAt(both, true, spans, 105_000, now)).toEqual({ kind: "recorded", url: "vod.m3u8", at: 105_000 });
    expect(choiceAt(both, true, spans, now - LIVE_REACH_MS, now).kind).toBe("live");
    expect(choiceAt(both, true, spans, now - LIVE_REACH_MS - 1, now).kind).toBe("recorded");
  });

  it("goes to the end of a gap that was chosen", () => {
    expect(choiceAt(both, false, spans, 112_000, now)).toEqual({ kind: "recorded", url: "vod.m3u8", at: 119_000 });
  });

  it("stays live where nothing is recorded yet", () => {
    expect(choiceAt({ live: "live.m3u8", recorded: null }, true, [], 105_000, now).kind).toBe("live");
  });
});

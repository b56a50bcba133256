import { describe, expect, it } from "vitest";
import { blocksOf, momentAt, nearestRecorded, placeOf, rangeOf, ticksOf } from "@/lib/timeline";

const range = { start: 1000, end: 2000 };

describe("places", () => {
  it("relates moments and places", () => {
    expect(placeOf(1250, range)).toBe(0.25);
    expect(momentAt(0.25, range)).toBe(1250);
  });

  it("lays what is outside at the ends", () => {
    expect(placeOf(0, range)).toBe(0);
    expect(placeOf(9000, range)).toBe(1);
    expect(momentAt(-1, range)).toBe(1000);
    expect(momentAt(2, range)).toBe(2000);
  });

  it("survives a range without length", () => {
    expect(placeOf(5, { start: 5, end: 5 })).toBe(0);
  });
});

describe("blocks", () => {
  it("cuts at the ends and leaves out what is not seen", () => {
    const blocks = blocksOf(
      [
        { start: 0, end: 500 },
        { start: 500, end: 1500 },
        { start: 1800, end: 3000 },
        { start: 2000, end: 2100 },
      ],
      range,
    );
    expect(blocks.map((block) => [block.left, block.width])).toEqual([
      [0, 0.5],
      [0.8, expect.closeTo(0.2)],
    ]);
  });

  it("keeps what belongs to an interval", () => {
    expect(blocksOf([{ start: 1100, end: 1200, cause: "silent" }], range)[0]?.cause).toBe("silent");
  });
});

describe("ticks", () => {
  it("are round and few", () => {
    const hour = { start: Date.parse("2026-11-21T11:02:10Z"), end: Date.parse("2026-11-21T12:10:00Z") };
    const ticks = ticksOf(hour, 7);
    expect(ticks.length).toBeLessThanOrEqual(7);
    expect(ticks.map((tick) => new Date(tick).toISOString().slice(11, 16))).toEqual([
      "11:10",
      "11:20",
      "11:30",
      "11:40",
      "11:50",
      "12:00",
      "12:10",
    ]);
  });

  it("are none for a range without length", () => {
    expect(ticksOf({ start: 5, end: 5 }, 7)).toEqual([]);
  });
});

describe("range of a meeting", () => {
  it("is the meeting once it has ended", () => {
    expect(rangeOf(0, 60_000, 90_000, null)).toEqual({ start: 0, end: 60_000 });
  });

  it("leaves room beyond the live edge while it runs", () => {
    const { end } = rangeOf(0, null, 600_000, null);
    expect(end).toBeGreaterThan(600_000);
    expect(end).toBeLessThan(700_000);
  });

  it("reaches to a planned end that is near, not to one far away", () => {
    expect(rangeOf(0, null, 600_000, 660_000).end).toBe(660_000);
    expect(rangeOf(0, null, 600_000, 7_200_000).end).toBeLessThan(700_000);
  });
});

describe("nearest recorded moment", () => {
  const spans = [
    { start: 100, end: 200 },
    { start: 300, end: 400 },
  ];

  it.each([
    [150, 150],
    [250, 300],
    [50, 100],
    [500, 400],
  ])("of %s is %s", (moment, nearest) => {
    expect(nearestRecorded(moment, spans)).toBe(nearest);
  });

  it("is nothing where nothing is recorded", () => {
    expect(nearestRecorded(1, [])).toBeNull();
  });
});

import { describe, expect, it } from "vitest";
import {
  addDays,
  dayOf,
  formatDate,
  formatDuration,
  formatMoment,
  formatPosition,
  formatSince,
  isDay,
  momentOf,
} from "@/lib/time";

const ZONE = "Asia/Shanghai";
const zh = { language: "zh-CN", timeZone: ZONE } as const;
const en = { language: "en", timeZone: ZONE } as const;
// 21 November 2026, a Saturday, 19:34 in Shanghai.
const NOW = Date.parse("2026-11-21T11:34:00Z");

it("takes for a day what is one, and nothing else that an address may say", () => {
  const told = ["2026-11-21", "2024-02-29", "2026-02-30", "2026-13-01", "2026-1-1", "tomorrow", "", undefined, ["x"]];
  expect(told.filter(isDay)).toEqual(["2026-11-21", "2024-02-29"]);
});

describe("moments", () => {
  it.each([
    ["2026-11-21T11:02:00Z", "今天 19:02", "today 19:02"],
    ["2026-11-20T11:02:00Z", "昨天 19:02", "yesterday 19:02"],
    ["2026-11-22T11:02:00Z", "明天 19:02", "tomorrow 19:02"],
    ["2026-11-14T11:02:00Z", "11月14日 周六 19:02", "Sat 14 Nov 19:02"],
    ["2025-03-01T00:00:00Z", "2025年3月1日 周六 08:00", "Sat 1 Mar 2025 08:00"],
  ])("says %s as %s", (moment, chinese, english) => {
    expect(formatMoment(Date.parse(moment), NOW, zh)).toBe(chinese);
    expect(formatMoment(Date.parse(moment), NOW, en)).toBe(english);
  });

  it("counts days by the zone, not by UTC", () => {
    // 17:30 UTC is already the next day in Shanghai.
    expect(dayOf(Date.parse("2026-11-21T17:30:00Z"), ZONE)).toBe("2026-11-22");
    expect(formatMoment(Date.parse("2026-11-21T17:30:00Z"), NOW, zh)).toBe("明天 01:30");
  });

  it("leaves out the day where it is today", () => {
    expect(formatSince(Date.parse("2026-11-21T11:02:00Z"), NOW, zh)).toBe("19:02");
    expect(formatSince(Date.parse("2026-11-19T11:02:00Z"), NOW, zh)).toBe("11月19日 周四 19:02");
  });

  it("shows midnight as 00:00", () => {
    expect(formatMoment(Date.parse("2026-11-20T16:00:00Z"), NOW, zh)).toBe("今天 00:00");
  });

  it("goes over the ends of months and years", () => {
    expect(addDays("2026-12-31", 1)).toBe("2027-01-01");
    expect(addDays("2028-03-01", -1)).toBe("2028-02-29");
    expect(formatDate("2027-01-01", "2026-12-31", "zh-CN")).toBe("2027年1月1日 周五");
  });

  it("turns a wall-clock time into its moment and back", () => {
    expect(momentOf("2026-11-21", "19:02", ZONE)).toBe(Date.parse("2026-11-21T11:02:00Z"));
    expect(momentOf("2026-07-01", "09:00", "Europe/Berlin")).toBe(Date.parse("2026-07-01T07:00:00Z"));
  });
});

describe("durations", () => {
  it.each([
    [-5, "0 秒", "0 s"],
    [45, "45 秒", "45 s"],
    [60, "1 分钟", "1 min"],
    [32 * 60 + 59, "32 分钟", "32 min"],
    [3600, "1 小时", "1 h"],
    [72 * 60, "1 小时 12 分", "1 h 12 min"],
    [76 * 3600, "3 天 4 小时", "3 d 4 h"],
  ])("says %s s as %s", (seconds, chinese, english) => {
    expect(formatDuration(seconds * 1000, "zh-CN")).toBe(chinese);
    expect(formatDuration(seconds * 1000, "en")).toBe(english);
  });

  it("writes a position as a player does", () => {
    expect(formatPosition(245_000)).toBe("4:05");
    expect(formatPosition(4_329_000)).toBe("1:12:09");
    expect(formatPosition(-1)).toBe("0:00");
  });
});

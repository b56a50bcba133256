import { describe, expect, it } from "vitest";
import { withFreshHead } from "@/lib/archive";

const meeting = (id: string, minute: number, title = "") => ({
  id,
  title,
  planned_start: new Date(Date.UTC(2026, 10, 22, 1, minute)).toISOString(),
});

describe("a list whose head is read anew", () => {
  const known = [meeting("d", 40), meeting("c", 30), meeting("b", 20), meeting("a", 10)];

  it("gets what has come, and keeps what was read below", () => {
    const found = withFreshHead(known, [meeting("e", 50), meeting("d", 40, "new"), meeting("c", 30)]);
    expect(found.map((item) => item.id)).toEqual(["e", "d", "c", "b", "a"]);
    expect(found[1]?.title).toBe("new");
  });

  it("loses what is no longer in it", () => {
    expect(withFreshHead(known, [meeting("d", 40), meeting("b", 20)]).map((item) => item.id)).toEqual(["d", "b", "a"]);
  });

  it("holds meetings of one minute once each", () => {
    const twins = [meeting("y", 40), meeting("x", 40), meeting("a", 10)];
    expect(withFreshHead(twins, [meeting("z", 40), meeting("y", 40)]).map((item) => item.id)).toEqual([
      "z",
      "y",
      "x",
      "a",
    ]);
  });
});

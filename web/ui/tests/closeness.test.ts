import { describe, expect, it } from "vitest";
import { Closeness } from "@/lib/closeness";

/** Plays parts of half a second that come in time, from so many seconds ahead; how much was left at least at the end. */
function play(closeness: Closeness, ahead: number, seconds: number, from = 0): { least: number; stalls: number } {
  let buffered = ahead;
  let stalls = 0;
  const late: number[] = [];
  for (let step = 1; step <= seconds * 10; step++) {
    const now = from + step * 100;
    buffered -= 0.1 * closeness.rate(now, buffered);
    if (buffered < 0) {
      closeness.stalled(now);
      buffered = 0;
      stalls++;
    }
    late.push(buffered);
    if (step % 5 === 0) buffered += 0.5;
  }
  return { least: Math.min(...late.slice(-50)), stalls };
}

describe("Closeness", () => {
  it("plays away what is never needed, and no more", () => {
    const { least, stalls } = play(new Closeness(), 3, 60);
    expect(stalls).toBe(0);
    expect(least).toBeGreaterThan(0.15);
    expect(least).toBeLessThan(0.45);
  });

  it("keeps more to spare after stalls, and gives it back when all is calm", () => {
    const closeness = new Closeness();
    for (const at of [0, 500, 3000, 6000, 9000, 12_000]) closeness.stalled(at);
    const careful = play(closeness, 1.2, 19, 12_000).least;
    expect(careful).toBeGreaterThan(0.65);
    const calm = play(closeness, 1, 300, 60_000).least;
    expect(calm).toBeLessThan(0.45);
  });

  it("leaves whoever went back where they are", () => {
    expect(new Closeness().rate(0, 20)).toBe(1);
  });
});

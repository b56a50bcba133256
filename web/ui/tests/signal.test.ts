import { describe, expect, it } from "vitest";
import { gradeOf, sampleOf, signalBetween, type SignalSample } from "@/lib/signal";

const zero: SignalSample = {
  at: 1000,
  received: 100,
  lost: 5,
  nacks: 3,
  bytes: 10_000,
  frames: 50,
  width: 1280,
  height: 720,
  roundTrip: null,
  protocol: "udp",
};

describe("how a picture arrives", () => {
  it("is what happened between two moments", () => {
    const later = {
      ...zero,
      at: 3000,
      received: 195,
      lost: 10,
      nacks: 7,
      bytes: 260_000,
      frames: 100,
      roundTrip: 0.21,
    };
    expect(signalBetween(zero, later)).toMatchObject({
      loss: 0.05,
      nacks: 2,
      bitrate: 1_000_000,
      fps: 25,
      roundTrip: 210,
    });
    expect(signalBetween(zero, zero)).toBeNull();
  });

  it("counts a packet that came late after all as not lost, and nothing as no loss", () => {
    expect(signalBetween(zero, { ...zero, at: 2000, lost: 3 })?.loss).toBe(0);
  });

  it("has one word", () => {
    const good = { loss: 0, nacks: 0, bitrate: 1e6, fps: 25, width: 1, height: 1, roundTrip: 20, protocol: "udp" };
    expect(gradeOf(good)).toBe("good");
    expect(gradeOf({ ...good, loss: 0.05 })).toBe("fair");
    expect(gradeOf({ ...good, nacks: 5 })).toBe("fair");
    expect(gradeOf({ ...good, roundTrip: 200 })).toBe("fair");
    expect(gradeOf({ ...good, loss: 0.2 })).toBe("poor");
    expect(gradeOf({ ...good, fps: 0 })).toBe("poor");
  });

  it("comes from the browser's report", () => {
    const report = [
      { type: "inbound-rtp", kind: "audio", id: "a", packetsReceived: 7 },
      { type: "inbound-rtp", kind: "video", id: "v", packetsReceived: 9, packetsLost: 1, frameWidth: 640 },
      { type: "candidate-pair", id: "old", nominated: false, currentRoundTripTime: 9 },
      { type: "candidate-pair", id: "p", nominated: true, currentRoundTripTime: 0.03, localCandidateId: "c" },
      { type: "local-candidate", id: "c", protocol: "tcp" },
    ];
    expect(sampleOf(report, 5)).toMatchObject({
      at: 5,
      received: 9,
      lost: 1,
      width: 640,
      roundTrip: 0.03,
      protocol: "tcp",
    });
    expect(sampleOf([], 5)).toBeNull();
  });
});

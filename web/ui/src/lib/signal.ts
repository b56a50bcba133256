/** How a picture arrives by WebRTC, from what the browser counts. Pure. */

/** Counters of the picture at one moment; `at` in milliseconds of any steady clock. */
export interface SignalSample {
  at: number;
  received: number;
  lost: number;
  /** How often missing packets were asked for. */
  nacks: number;
  bytes: number;
  frames: number;
  width: number;
  height: number;
  /** There and back, seconds; null where it is not known yet. */
  roundTrip: number | null;
  /** udp or tcp. */
  protocol: string;
}

export interface Signal {
  /** Share of the packets of the last seconds that never came, though they were asked for again, 0 to 1. */
  loss: number;
  /** How often missing packets were asked for, each second: what the line loses and what mends it. */
  nacks: number;
  bitrate: number;
  fps: number;
  width: number;
  height: number;
  /** Milliseconds. */
  roundTrip: number | null;
  protocol: string;
}

export type SignalGrade = "good" | "fair" | "poor";

interface Counted {
  type: string;
  kind?: string;
  id: string;
  packetsReceived?: number;
  packetsLost?: number;
  nackCount?: number;
  bytesReceived?: number;
  framesDecoded?: number;
  frameWidth?: number;
  frameHeight?: number;
  nominated?: boolean;
  currentRoundTripTime?: number;
  localCandidateId?: string;
  protocol?: string;
}

/** What a report of the browser's says of the picture; null before there is one. */
export function sampleOf(report: Iterable<unknown>, at: number): SignalSample | null {
  const items = [...report] as Counted[];
  const video = items.find((item) => item.type === "inbound-rtp" && item.kind === "video");
  if (!video) return null;
  const pair = items.find((item) => item.type === "candidate-pair" && item.nominated);
  const local = items.find((item) => item.id === pair?.localCandidateId);
  return {
    at,
    received: video.packetsReceived ?? 0,
    lost: video.packetsLost ?? 0,
    nacks: video.nackCount ?? 0,
    bytes: video.bytesReceived ?? 0,
    frames: video.framesDecoded ?? 0,
    width: video.frameWidth ?? 0,
    height: video.frameHeight ?? 0,
    roundTrip: pair?.currentRoundTripTime ?? null,
    protocol: local?.protocol ?? "",
  };
}

/** What happened between two moments; null where no time has passed. */
export function signalBetween(before: SignalSample, after: SignalSample): Signal | null {
  const seconds = (after.at - before.at) / 1000;
  if (seconds <= 0) return null;
  // A packet that comes late after all is counted back.
  const lost = Math.max(0, after.lost - before.lost);
  const expected = Math.max(0, after.received - before.received) + lost;
  return {
    loss: expected > 0 ? lost / expected : 0,
    nacks: Math.max(0, after.nacks - before.nacks) / seconds,
    bitrate: (Math.max(0, after.bytes - before.bytes) * 8) / seconds,
    fps: Math.max(0, after.frames - before.frames) / seconds,
    width: after.width,
    height: after.height,
    roundTrip: after.roundTrip === null ? null : after.roundTrip * 1000,
    protocol: after.protocol,
  };
}

/** A line in one word: what a person notices are losses that cannot be mended in time, and long ways. */
export function gradeOf(signal: Signal): SignalGrade {
  const trip = signal.roundTrip ?? 0;
  if (signal.loss > 0.1 || trip > 400 || signal.fps === 0) return "poor";
  return signal.loss > 0.02 || signal.nacks > 2 || trip > 150 ? "fair" : "good";
}

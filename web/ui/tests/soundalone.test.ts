import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { playWhatComes } from "@/lib/soundalone";

class Track extends EventTarget {
  muted = true;
  constructor(readonly kind: "video" | "audio") {
    super();
  }
  comes(): void {
    this.muted = false;
    this.dispatchEvent(new Event("unmute"));
  }
}

class Stream {
  constructor(readonly tracks: Track[]) {}
  getVideoTracks = (): Track[] => this.tracks.filter((track) => track.kind === "video");
  getAudioTracks = (): Track[] => this.tracks.filter((track) => track.kind === "audio");
}

describe("what comes over WebRTC", () => {
  const element = { srcObject: null as unknown };
  const play = vi.fn();
  let picture: Track;
  let sound: Track;
  let media: Stream;
  let leave: () => void;

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("MediaStream", Stream);
    vi.stubGlobal("window", globalThis);
    play.mockClear();
    [picture, sound] = [new Track("video"), new Track("audio")];
    media = new Stream([picture, sound]);
    leave = playWhatComes(element as HTMLVideoElement, media as unknown as MediaStream, play);
  });
  afterEach(() => {
    leave();
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  it("is played as it is where the picture comes", () => {
    picture.comes();
    sound.comes();
    vi.advanceTimersByTime(60_000);
    expect(element.srcObject).toBe(media);
    expect(play).toHaveBeenCalledTimes(1);
  });

  it("is heard where no picture comes, and seen once it does", () => {
    sound.comes();
    vi.advanceTimersByTime(60_000);
    expect((element.srcObject as Stream).tracks).toEqual([sound]);
    picture.comes();
    expect(element.srcObject).toBe(media);
    expect(play).toHaveBeenCalledTimes(3);
  });

  it("is heard however late its sound is, and left alone once it is over", () => {
    vi.advanceTimersByTime(60_000);
    expect(element.srcObject).toBe(media);
    sound.comes();
    vi.advanceTimersByTime(60_000);
    expect((element.srcObject as Stream).tracks).toEqual([sound]);
    leave();
    element.srcObject = null;
    picture.comes();
    expect(element.srcObject).toBeNull();
  });
});

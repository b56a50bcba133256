import type Hls from "hls.js";
import type { ErrorData, HlsConfig, LevelDetails } from "hls.js";
import { onScopeDispose, readonly, ref, shallowRef, type Ref } from "vue";
import { serverNow } from "@/lib/clock";
import { keepClose } from "@/lib/closeness";
import { mediaTimeAt, momentAtMediaTime, reaches, type DatedFragment } from "@/lib/mediatime";
import { playWhatComes } from "@/lib/soundalone";
import { canRtc, openRtc, type RtcSession } from "@/lib/whep";

/** What the picture is doing. `codec` is a picture that this browser cannot decode. */
export type PlayerStatus = "idle" | "opening" | "playing" | "paused" | "buffering" | "lost" | "codec" | "ended";

const RETRY_MS = [1000, 2000, 4000, 5000];

const COMMON: Partial<HlsConfig> = {
  // fMP4 needs no transmuxing worth a thread, and a worker from a blob: would widen the content security policy.
  enableWorker: false,
  autoStartLoad: false,
  xhrSetup: (request) => {
    request.withCredentials = true;
  },
};

const LIVE: Partial<HlsConfig> = {
  ...COMMON,
  lowLatencyMode: true,
  backBufferLength: 20,
  // Where it begins: two parts back, not the three that playlists advise. How close it stays is up to keepClose().
  liveSyncDuration: 1.0,
  liveSyncOnStallIncrease: 0,
};

const RECORDED: Partial<HlsConfig> = {
  ...COMMON,
  lowLatencyMode: false,
  maxBufferLength: 30,
  backBufferLength: 60,
};

interface Source {
  kind: "live" | "recorded";
  url: string;
  /** WHEP address of a live picture, where there is one. */
  rtc: string | null;
  /** Moment to begin at, for what is recorded. */
  at: number | null;
  /** About the media time of that moment, in seconds. */
  expected: number;
}

/** The first picture is corrected where the expected media time was further off than this. Seconds. */
const CLOSE_ENOUGH_S = 0.5;

/** After so many tries that brought no picture the live playlist is taken instead of WebRTC. */
const RTC_TRIES = 2;

/**
 * One `<video>` that plays what is live or recorded and speaks in wall-clock moments.
 *
 * What is live comes by WebRTC where browser and network let it, else as HLS; what is recorded is HLS.
 * hls.js where the browser has Media Source Extensions, else the browser's own HLS. A playlist that cannot be had is
 * asked for again for ever: a picture that comes back needs no click.
 */
export function usePlayer(video: Ref<HTMLVideoElement | null>) {
  const status = ref<PlayerStatus>("idle");
  const kind = ref<"live" | "recorded" | null>(null);
  const moment = ref<number | null>(null);
  const muted = ref(false);
  const rate = ref(1);
  const soundBlocked = ref(false);
  const codec = ref("");
  const details = shallowRef<LevelDetails | null>(null);

  let hls: Hls | null = null;
  let leaveBe = (): void => undefined;
  const rtc = shallowRef<RtcSession | null>(null);
  let rtcTries = 0;
  let opened = 0;
  let retryTimer = 0;
  let attempts = 0;
  let mediaRecoveries = 0;
  let current: Source | null = null;
  let lastMoment: number | null = null;

  function fragments(): DatedFragment[] {
    return details.value?.fragments ?? [];
  }

  function observe(): void {
    const element = video.value;
    if (!element || status.value === "idle") return;
    if (rtc.value) {
      moment.value = serverNow();
      return;
    }
    const found = hls ? momentAtMediaTime(fragments(), element.currentTime) : nativeMoment(element);
    if (found !== null && element.readyState > 0) {
      moment.value = found;
      lastMoment = found;
    }
  }

  function nativeMoment(element: HTMLVideoElement): number | null {
    const dated = element as HTMLVideoElement & { getStartDate?: () => Date };
    const start = dated.getStartDate?.().getTime();
    return start === undefined || Number.isNaN(start) ? null : start + element.currentTime * 1000;
  }

  function closeSource(): void {
    window.clearTimeout(retryTimer);
    opened++;
    leaveBe();
    leaveBe = () => undefined;
    hls?.destroy();
    hls = null;
    rtc.value?.close();
    rtc.value = null;
    details.value = null;
    const element = video.value;
    if (element?.srcObject) element.srcObject = null;
    if (element?.getAttribute("src")) {
      element.removeAttribute("src");
      element.load();
    }
  }

  function begin(source: Source): void {
    attempts = 0;
    mediaRecoveries = 0;
    rtcTries = 0;
    lastMoment = source.at;
    void start(source);
  }

  /** Begins to show what is live: by WebRTC from the WHEP address, or the playlist. */
  function openLive(url: string, whep: string | null = null): void {
    begin({ kind: "live", url, rtc: whep, at: null, expected: 0 });
  }

  /** Begins to show what is recorded. `at` is the moment to begin at; `expected` about its media time, in seconds. */
  function openRecorded(url: string, at: number, expected: number): void {
    begin({ kind: "recorded", url, rtc: null, at, expected });
  }

  async function start(source: Source): Promise<void> {
    closeSource();
    const mine = opened;
    current = source;
    kind.value = source.kind;
    moment.value = source.at;
    status.value = attempts > 0 ? "lost" : "opening";
    const element = video.value;
    if (!element) return;
    element.playbackRate = source.kind === "live" ? 1 : rate.value;
    if (source.rtc && canRtc() && rtcTries < RTC_TRIES) {
      await startRtc(element, source, source.rtc);
      return;
    }
    const { default: HlsPlayer } = await import("hls.js");
    if (mine !== opened) return;
    if (!HlsPlayer.isSupported()) {
      startNative(element, source);
      return;
    }
    const player = new HlsPlayer(source.kind === "live" ? LIVE : RECORDED);
    hls = player;
    if (source.kind === "live") leaveBe = keepClose(element);
    let placed = false;
    player.on(HlsPlayer.Events.MANIFEST_PARSED, () => {
      // hls.js begins a playlist that still grows at its end unless it is told where to begin before it loads it.
      player.startLoad(source.kind === "recorded" ? source.expected : -1);
      void play();
    });
    player.on(HlsPlayer.Events.LEVEL_LOADED, (_event, data) => {
      details.value = data.details;
      attempts = 0;
      if (placed || source.kind === "live" || source.at === null) return;
      placed = true;
      const target = mediaTimeAt(data.details.fragments, source.at);
      if (target === null || Math.abs(target - source.expected) <= CLOSE_ENOUGH_S) return;
      const correct = (): void => {
        if (mine === opened) element.currentTime = target;
      };
      // Before the first picture hls.js would go back to the place that it was told.
      element.addEventListener("loadeddata", correct, { once: true });
    });
    player.on(HlsPlayer.Events.LEVEL_UPDATED, (_event, data) => {
      details.value = data.details;
    });
    player.on(HlsPlayer.Events.ERROR, (_event, data) => recover(HlsPlayer, player, data));
    player.loadSource(source.url);
    player.attachMedia(element);
  }

  async function startRtc(element: HTMLVideoElement, source: Source, url: string): Promise<void> {
    const mine = opened;
    rtcTries++;
    let connected = false;
    try {
      const session = await openRtc(url, {
        receive: ["video", "audio"],
        onState: (state) => {
          if (mine !== opened) return;
          if (state === "connected") {
            connected = true;
            rtcTries = 0;
            attempts = 0;
          } else if (state === "lost") {
            if (connected) retry();
            else void start(source);
          }
        },
      });
      if (mine !== opened) {
        session.close();
        return;
      }
      rtc.value = session;
      leaveBe = playWhatComes(element, session.media, play);
    } catch {
      // Refused (a codec that this browser lacks, say) or unreachable: the playlist says what is wrong, or plays.
      if (mine !== opened) return;
      rtcTries = RTC_TRIES;
      void start(source);
    }
  }

  function startNative(element: HTMLVideoElement, source: Source): void {
    element.src = source.url;
    const place = (): void => {
      const begin = nativeMoment(element);
      if (source.kind === "recorded" && source.at !== null && begin !== null) {
        element.currentTime = Math.max(0, (source.at - begin) / 1000);
      }
    };
    element.addEventListener("loadedmetadata", place, { once: true });
    element.onerror = () => {
      if (element.error?.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED && attempts > 1) status.value = "codec";
      else retry();
    };
    void play();
  }

  function recover(HlsPlayer: typeof Hls, player: Hls, data: ErrorData): void {
    if (player !== hls) return;
    const cannotDecode =
      data.details === HlsPlayer.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR ||
      data.details === HlsPlayer.ErrorDetails.BUFFER_ADD_CODEC_ERROR ||
      data.details === HlsPlayer.ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR;
    if (cannotDecode) {
      const named = player.levels?.[0]?.videoCodec ?? data.error?.message ?? "";
      codec.value = /hvc1|hev1|265/i.test(named) ? "H.265" : named.split(".")[0] || "H.265";
      closeSource();
      status.value = "codec";
      return;
    }
    if (!data.fatal) return;
    if (data.type === HlsPlayer.ErrorTypes.MEDIA_ERROR && mediaRecoveries < 2) {
      mediaRecoveries++;
      player.recoverMediaError();
      return;
    }
    retry();
  }

  function retry(): void {
    if (!current) return;
    status.value = "lost";
    const wait = RETRY_MS[Math.min(attempts, RETRY_MS.length - 1)] ?? 5000;
    attempts++;
    // A playlist that is lost too: the camera was away, and comes back by the shortest way.
    rtcTries = Math.min(rtcTries, RTC_TRIES - 1);
    const at = current.kind === "recorded" ? (lastMoment ?? current.at) : null;
    const expected = at === null ? 0 : (mediaTimeAt(fragments(), at) ?? current.expected);
    const again = { ...current, at, expected };
    window.clearTimeout(retryTimer);
    retryTimer = window.setTimeout(() => void start(again), wait);
  }

  async function play(): Promise<void> {
    const element = video.value;
    if (!element) return;
    try {
      await element.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError" || element.muted) return;
      // Browsers refuse sound before the first click on a page: the picture goes on, the sound waits for a click.
      setMuted(true);
      soundBlocked.value = true;
      await element.play().catch(() => undefined);
    }
  }

  function setMuted(next: boolean): void {
    muted.value = next;
    if (video.value) video.value.muted = next;
    if (!next) soundBlocked.value = false;
  }

  function setRate(next: number): void {
    rate.value = next;
    if (video.value && kind.value === "recorded") video.value.playbackRate = next;
  }

  /** Goes to a moment of the playlist that is open. False where the playlist does not reach there, or not yet. */
  function seek(target: number): boolean {
    const element = video.value;
    if (!element || !current || rtc.value) return false;
    if (!hls) {
      const begin = nativeMoment(element);
      if (begin === null) return false;
      element.currentTime += (target - begin) / 1000;
      return true;
    }
    const time = mediaTimeAt(fragments(), target);
    if (time === null) return false;
    // hls.js asks for a growing playlist once a segment; what was recorded since is there if it is asked for now.
    if (details.value?.live && !reaches(fragments(), target)) return false;
    moment.value = target;
    lastMoment = target;
    element.currentTime = time;
    if (element.paused) void play();
    return true;
  }

  function toggle(): void {
    const element = video.value;
    if (!element || !current) return;
    if (element.paused) void play();
    else element.pause();
  }

  function close(): void {
    closeSource();
    current = null;
    kind.value = null;
    moment.value = null;
    status.value = "idle";
  }

  /** Listeners of the `<video>`, to be bound with `v-on`. */
  const listeners = {
    playing: () => (status.value = "playing"),
    pause: () => {
      if (status.value === "playing" || status.value === "buffering") status.value = "paused";
    },
    waiting: () => {
      if (status.value === "playing") status.value = "buffering";
    },
    ended: () => (status.value = "ended"),
    timeupdate: observe,
    seeked: observe,
  };

  onScopeDispose(close);

  return {
    status: readonly(status),
    kind: readonly(kind),
    moment: readonly(moment),
    muted: readonly(muted),
    rate: readonly(rate),
    soundBlocked: readonly(soundBlocked),
    codec: readonly(codec),
    /** The WebRTC session while that is how the picture comes. */
    rtc: readonly(rtc),
    listeners,
    openLive,
    openRecorded,
    close,
    play,
    toggle,
    seek,
    setMuted,
    setRate,
  };
}

export type Player = ReturnType<typeof usePlayer>;

import type Hls from "hls.js";
import { onScopeDispose, watch, type Ref } from "vue";

/** How far both may be apart before the voice is moved, seconds: closer, a jump would be heard more than the distance. */
const APART_S = 0.25;
const LOOK_MS = 500;

/**
 * What officials said into the room, beside the recorded picture: a playlist with the picture's own times, played by a
 * second element that does what the first one does.
 */
export function useGuidance(
  audio: Ref<HTMLAudioElement | null>,
  video: Ref<HTMLVideoElement | null>,
  url: () => string | null,
) {
  let hls: Hls | null = null;
  let timer = 0;
  let round = 0;

  function close(): void {
    round++;
    window.clearInterval(timer);
    hls?.destroy();
    hls = null;
    if (audio.value) {
      audio.value.pause();
      audio.value.removeAttribute("src");
    }
  }

  function follow(): void {
    const voice = audio.value;
    const picture = video.value;
    if (!voice || !picture) return;
    voice.playbackRate = picture.playbackRate;
    voice.volume = picture.volume;
    voice.muted = picture.muted;
    if (Math.abs(voice.currentTime - picture.currentTime) > APART_S) voice.currentTime = picture.currentTime;
    const halted = picture.paused || picture.seeking || picture.readyState < HTMLMediaElement.HAVE_FUTURE_DATA;
    if (halted && !voice.paused) voice.pause();
    // The picture began with a click or a key; if the browser still refuses, it is tried again in a moment.
    else if (!halted && voice.paused) void voice.play().catch(() => undefined);
  }

  async function open(address: string): Promise<void> {
    const mine = ++round;
    const { default: HlsPlayer } = await import("hls.js");
    const element = audio.value;
    if (mine !== round || !element) return;
    if (HlsPlayer.isSupported()) {
      hls = new HlsPlayer({ startPosition: video.value?.currentTime ?? 0, maxBufferLength: 30 });
      hls.attachMedia(element);
      hls.loadSource(address);
    } else element.src = address;
    timer = window.setInterval(follow, LOOK_MS);
  }

  watch(
    [url, audio, video],
    ([address]) => {
      close();
      if (address && audio.value && video.value) void open(address);
    },
    { immediate: true, flush: "post" },
  );
  watch(
    video,
    (element, _before, onCleanup) => {
      const events = ["play", "pause", "seeking", "seeked", "ratechange", "volumechange", "waiting", "playing"];
      for (const name of events) element?.addEventListener(name, follow);
      onCleanup(() => {
        for (const name of events) element?.removeEventListener(name, follow);
      });
    },
    { immediate: true },
  );
  onScopeDispose(close);
}

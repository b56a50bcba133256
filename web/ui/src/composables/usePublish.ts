import { onMounted, onScopeDispose, ref, shallowRef } from "vue";
import { canRtc, openRtc, type RtcSession } from "@/lib/whep";

/** `lost` is sending that broke off and is being taken up again. */
export type PublishState = "idle" | "starting" | "sending" | "lost";

const CHOICE = "sanhui.room.sends";

/** Sends the picture and sound of this device's own camera, for as long as it is wanted, over every loss of network. */
export function usePublish(url: () => string | null) {
  const state = ref<PublishState>("idle");
  const hasCamera = ref(false);
  const preview = shallowRef<MediaStream | null>(null);
  let session: RtcSession | null = null;
  let timer = 0;
  let round = 0;
  let failures = 0;

  async function look(): Promise<void> {
    if (!canRtc() || !navigator.mediaDevices) return;
    const devices = await navigator.mediaDevices.enumerateDevices().catch(() => []);
    hasCamera.value = devices.some((device) => device.kind === "videoinput");
    // A box that lost its power goes on with what it did, and so does a camera that was plugged out and in again.
    const waits = state.value === "idle" || state.value === "lost";
    if (hasCamera.value && waits && localStorage.getItem(CHOICE)) void start();
  }

  async function start(): Promise<void> {
    const mine = ++round;
    window.clearTimeout(timer);
    state.value = "starting";
    localStorage.setItem(CHOICE, "1");
    try {
      const address = url();
      if (!address) throw new Error("no address yet");
      const stream = await camera();
      if (mine !== round) {
        // Stopped while the browser was still asking.
        if (localStorage.getItem(CHOICE) === null) rest();
        return;
      }
      const opened = await openRtc(address, {
        send: stream,
        onState: (now) => {
          if (mine !== round) return;
          if (now === "connected") {
            failures = 0;
            state.value = "sending";
          } else if (now === "lost") again();
        },
      });
      if (mine === round) session = opened;
      else opened.close();
    } catch {
      if (mine === round) again();
    }
  }

  /** The camera's stream, taken anew where it has ended: a camera that was plugged out comes back as another. */
  async function camera(): Promise<MediaStream> {
    if (preview.value?.getTracks().every((track) => track.readyState === "live")) return preview.value;
    rest();
    const video = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 25, max: 30 } };
    const audio = { echoCancellation: true, noiseSuppression: true };
    const stream = await navigator.mediaDevices.getUserMedia({ video, audio }).catch((error: unknown) => {
      // Many a USB camera has no microphone: a meeting without sound is better on record than none.
      if (error instanceof DOMException && error.name === "NotFoundError") {
        return navigator.mediaDevices.getUserMedia({ video });
      }
      throw error;
    });
    // A weak line takes pictures away, never sharpness: a recording keeps one size, and faces and papers stay legible.
    for (const track of stream.getVideoTracks()) track.contentHint = "detail";
    for (const track of stream.getTracks()) {
      track.addEventListener("ended", () => {
        if (stream === preview.value && state.value !== "idle") again();
      });
    }
    preview.value = stream;
    return stream;
  }

  function rest(): void {
    for (const track of preview.value?.getTracks() ?? []) track.stop();
    preview.value = null;
  }

  function again(): void {
    round++;
    window.clearTimeout(timer);
    session?.close();
    session = null;
    state.value = "lost";
    timer = window.setTimeout(
      () => void start(),
      Math.min(15_000, 500 * 2 ** failures++) * (0.7 + 0.6 * Math.random()),
    );
  }

  function stop(): void {
    round++;
    window.clearTimeout(timer);
    localStorage.removeItem(CHOICE);
    end();
  }

  function end(): void {
    session?.close();
    session = null;
    rest();
    state.value = "idle";
  }

  onMounted(() => {
    void look();
    navigator.mediaDevices?.addEventListener("devicechange", look);
  });
  onScopeDispose(() => {
    round++;
    window.clearTimeout(timer);
    navigator.mediaDevices?.removeEventListener("devicechange", look);
    end();
  });

  return { state, hasCamera, preview, start, stop };
}

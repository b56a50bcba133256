import { onScopeDispose, ref, watch, type Ref } from "vue";
import { canRtc, openRtc, type RtcSession } from "@/lib/whep";

/** The voice of whoever speaks into a meeting, heard by itself. Opened ahead, so that the first word is not missed. */
export function useVoice(audio: Ref<HTMLAudioElement | null>, url: () => string | null) {
  /** The browser wants a key to be pressed before it lets anything be heard. */
  const blocked = ref(false);
  let session: RtcSession | null = null;
  let timer = 0;
  let round = 0;
  let failures = 0;

  function close(): void {
    round++;
    window.clearTimeout(timer);
    session?.close();
    session = null;
  }

  async function open(address: string): Promise<void> {
    const mine = ++round;
    try {
      const opened = await openRtc(address, {
        receive: ["audio"],
        onState: (state) => {
          if (mine !== round) return;
          if (state === "connected") failures = 0;
          else if (state === "lost") again(address);
        },
      });
      if (mine !== round) {
        opened.close();
        return;
      }
      session = opened;
      if (audio.value) {
        audio.value.srcObject = opened.media;
        await play();
      }
    } catch {
      if (mine === round) again(address);
    }
  }

  function again(address: string): void {
    close();
    timer = window.setTimeout(
      () => void open(address),
      Math.min(15_000, 2000 * 2 ** failures++) * (0.7 + 0.6 * Math.random()),
    );
  }

  async function play(): Promise<void> {
    try {
      await audio.value?.play();
      blocked.value = false;
    } catch (error) {
      blocked.value = error instanceof DOMException && error.name === "NotAllowedError";
    }
  }

  watch(
    url,
    (address) => {
      close();
      failures = 0;
      if (address && canRtc()) void open(address);
    },
    { immediate: true },
  );
  onScopeDispose(close);

  return { blocked, play };
}

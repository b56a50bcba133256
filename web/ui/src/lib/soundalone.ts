/** How long a picture may take to come beside its sound. Milliseconds. */
const PICTURE_MS = 2000;

/**
 * Plays what comes over WebRTC: a `<video>` waits for picture and sound, so that of a room without a picture nothing
 * would be heard. Sound that comes without its picture is played alone, until that comes too. Returns how to end it.
 */
export function playWhatComes(element: HTMLVideoElement, media: MediaStream, play: () => unknown): () => void {
  const [picture] = media.getVideoTracks();
  let timer = 0;

  // What is received is muted until its first packet (WebRTC 1.0, 5.3).
  function look(): void {
    if (!picture?.muted) return;
    const heard = media.getAudioTracks().filter((track) => !track.muted);
    if (heard.length === 0) {
      timer = window.setTimeout(look, PICTURE_MS);
      return;
    }
    element.srcObject = new MediaStream(heard);
    play();
  }

  function show(): void {
    window.clearTimeout(timer);
    if (element.srcObject === media) return;
    element.srcObject = media;
    play();
  }

  element.srcObject = media;
  play();
  timer = window.setTimeout(look, PICTURE_MS);
  picture?.addEventListener("unmute", show);
  return () => {
    window.clearTimeout(timer);
    picture?.removeEventListener("unmute", show);
  };
}

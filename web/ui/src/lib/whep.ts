/** WHEP (draft-ietf-wish-whep) and WHIP (RFC 9725) from a page: one offer, one answer, one session to be deleted. */
import { commonHeaders, networkProblem, problemOf, send } from "@/api/client";

/** How long a connection may take from the answer to the first packet. Milliseconds. */
const CONNECT_MS = 4000;

export type RtcState = "connecting" | "connected" | "lost";

export interface RtcSession {
  /** What comes from the service; empty for a publisher. */
  readonly media: MediaStream;
  readonly peer: RTCPeerConnection;
  /** What the service sends now; null where it cannot be had. */
  sent(): Promise<RtcSent | null>;
  close(): void;
}

export interface RtcSent {
  quality: "main" | "sub";
  /** The picture is converted, since this browser takes it neither from the main nor from the sub stream. */
  converted: boolean;
}

export interface RtcOptions {
  /** Which kinds are wanted from the service. */
  receive?: readonly ("video" | "audio")[];
  /** What this page sends. */
  send?: MediaStream;
  /** Told of every change; after "lost" the session is over and closed. */
  onState?: (state: RtcState) => void;
  signal?: AbortSignal;
}

/** Whether this browser speaks WebRTC at all. */
export function canRtc(): boolean {
  return typeof RTCPeerConnection === "function";
}

/**
 * Opens a session at a WHEP or WHIP address.
 *
 * The service is reachable at the addresses of its answer, so nothing waits for candidates to be gathered.
 *
 * @throws Problem where the service refuses the offer or cannot be reached; AbortError where `signal` fires.
 */
export async function openRtc(url: string, options: RtcOptions): Promise<RtcSession> {
  const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" });
  const media = new MediaStream();
  peer.addEventListener("track", (event) => media.addTrack(event.track));
  for (const kind of options.receive ?? []) peer.addTransceiver(kind, { direction: "recvonly" });
  for (const track of options.send?.getTracks() ?? []) {
    peer.addTransceiver(track, { direction: "sendonly", streams: options.send ? [options.send] : [] });
  }
  try {
    await peer.setLocalDescription();
    const { answer, location } = await exchange(url, peer.localDescription?.sdp ?? "", options.signal);
    const session = watched(peer, media, location, options.onState);
    try {
      await peer.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      session.close();
      throw error;
    }
    return session;
  } catch (error) {
    peer.close();
    throw error;
  }
}

async function exchange(
  url: string,
  offer: string,
  signal?: AbortSignal,
): Promise<{ answer: string; location: string | null }> {
  let response: Response;
  try {
    response = await send(
      new Request(url, {
        method: "POST",
        body: offer,
        headers: { ...commonHeaders("POST"), "Content-Type": "application/sdp" },
        credentials: "same-origin",
        signal: signal ?? null,
      }),
    );
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw networkProblem();
  }
  if (!response.ok) throw problemOf(response, await response.json().catch(() => null));
  const location = response.headers.get("Location");
  return { answer: await response.text(), location: location && new URL(location, response.url).href };
}

function watched(
  peer: RTCPeerConnection,
  media: MediaStream,
  location: string | null,
  onState?: (state: RtcState) => void,
): RtcSession {
  let over = false;
  let connected = false;

  function close(): void {
    end(!connected);
  }

  function leave(): void {
    end(true);
  }

  /** A peer that is connected says goodbye by itself, which ends the session; one that is not, or dies, cannot. */
  function end(tell: boolean): void {
    if (over) return;
    over = true;
    window.clearTimeout(timer);
    window.removeEventListener("pagehide", leave);
    peer.close();
    for (const track of media.getTracks()) track.stop();
    if (location && tell) {
      void fetch(location, { method: "DELETE", headers: commonHeaders("DELETE"), keepalive: true }).catch(
        () => undefined,
      );
    }
  }

  function lose(): void {
    if (over) return;
    end(!connected);
    onState?.("lost");
  }

  const timer = window.setTimeout(lose, CONNECT_MS);
  peer.addEventListener("connectionstatechange", () => {
    if (over) return;
    if (peer.connectionState === "connected") {
      window.clearTimeout(timer);
      connected = true;
      onState?.("connected");
    } else if (peer.connectionState === "failed" || peer.connectionState === "closed") lose();
    else if (peer.connectionState === "connecting") onState?.("connecting");
  });
  async function sent(): Promise<RtcSent | null> {
    if (!location) return null;
    try {
      const response = await fetch(location, { headers: commonHeaders("PATCH") });
      return response.ok ? ((await response.json()) as RtcSent) : null;
    } catch {
      return null;
    }
  }

  window.addEventListener("pagehide", leave);
  return { media, peer, sent, close };
}

/** WHEP (draft-ietf-wish-whep) and WHIP (RFC 9725) from a page: one offer, one answer, one session to be deleted. */
import { commonHeaders, networkProblem, problemOf, send } from "@/api/client";
import { answerAnew, FRAGMENT, fragmentOf, serversOf } from "@/lib/ice";

/** How long a connection may take from the answer to the first packet. Milliseconds. */
const CONNECT_MS = 4000;
/** So long a connection that was there is looked for on another way; each try may take so long. Milliseconds. */
const RESTORE_MS = 15_000;
const TRY_MS = 2500;

/** The service's ICE servers as it told them last, and whether the service could not be reached without them. */
let servers: RTCIceServer[] = [];
let byServers = false;

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
 * The service is reachable at the addresses of its answer, so nothing waits for candidates to be gathered; where it has
 * turned out not to be, what is opened next goes by its TURN servers too.
 *
 * @throws Problem where the service refuses the offer or cannot be reached; AbortError where `signal` fires.
 */
export async function openRtc(url: string, options: RtcOptions): Promise<RtcSession> {
  const iceServers = byServers ? servers : [];
  const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require", iceServers });
  const media = new MediaStream();
  peer.addEventListener("track", (event) => media.addTrack(event.track));
  for (const kind of options.receive ?? []) peer.addTransceiver(kind, { direction: "recvonly" });
  for (const track of options.send?.getTracks() ?? []) {
    peer.addTransceiver(track, { direction: "sendonly", streams: options.send ? [options.send] : [] });
  }
  try {
    await peer.setLocalDescription();
    const { answer, location } = await exchange(url, peer.localDescription?.sdp ?? "", options.signal);
    const session = watched(peer, media, location, answer, options.onState);
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
  servers = serversOf(response.headers.get("Link"));
  const location = response.headers.get("Location");
  return { answer: await response.text(), location: location && new URL(location, response.url).href };
}

/**
 * Begins ICE anew on a session that goes on: a phone has changed networks, say.
 *
 * @returns The answer from now on; null where the service knows the session no longer.
 * @throws Where the service cannot be reached.
 */
async function restarted(peer: RTCPeerConnection, location: string, answer: string): Promise<string | null> {
  // An offer of before that the service never heard of.
  if (peer.signalingState === "have-local-offer") await peer.setLocalDescription({ type: "rollback" });
  peer.restartIce();
  await peer.setLocalDescription();
  const response = await send(
    new Request(location, {
      method: "PATCH",
      body: fragmentOf(peer.localDescription?.sdp ?? ""),
      // Whatever was agreed on before (RFC 9725, 4.3.3).
      headers: { ...commonHeaders("PATCH"), "Content-Type": FRAGMENT, "If-Match": "*" },
      credentials: "same-origin",
      signal: AbortSignal.timeout(TRY_MS),
    }),
  );
  const anew = response.ok ? answerAnew(answer, await response.text()) : null;
  if (anew !== null) await peer.setRemoteDescription({ type: "answer", sdp: anew });
  return anew;
}

function watched(
  peer: RTCPeerConnection,
  media: MediaStream,
  location: string | null,
  answer: string,
  onState?: (state: RtcState) => void,
): RtcSession {
  let over = false;
  let connected = false;
  let restoring = false;

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

  const isBack = (): boolean => over || peer.connectionState === "connected";

  /** The same session by another way, for as long as the service keeps it. */
  async function restore(address: string): Promise<void> {
    if (restoring) return;
    restoring = true;
    const giveUp = performance.now() + RESTORE_MS;
    while (!isBack() && performance.now() < giveUp) {
      const next = performance.now() + TRY_MS;
      try {
        const anew = await restarted(peer, address, answer);
        if (anew === null) break;
        answer = anew;
      } catch {
        // No network at all, for now.
      }
      while (!isBack() && performance.now() < next) await new Promise((done) => window.setTimeout(done, 100));
    }
    restoring = false;
    if (!isBack()) lose();
  }

  const timer = window.setTimeout(() => {
    byServers = true;
    lose();
  }, CONNECT_MS);
  peer.addEventListener("connectionstatechange", () => {
    if (over) return;
    const now = peer.connectionState;
    if (now === "connected") {
      window.clearTimeout(timer);
      connected = true;
      onState?.("connected");
    } else if (now === "closed") lose();
    else if (now === "failed" || now === "disconnected") {
      const wayIsLost = ["failed", "disconnected"].includes(peer.iceConnectionState);
      if (connected && location && wayIsLost) void restore(location);
      else if (now === "failed") lose();
    } else if (now === "connecting") onState?.("connecting");
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

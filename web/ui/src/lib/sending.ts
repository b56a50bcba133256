import { Problem } from "@/lib/problem";

/** Who is unknown pairs anew, and a rush passes: both without anybody's doing. */
const PASSING = [401, 403, 404, 429];

/** What the service says, or a name among `room.sendTrouble`. */
export type SendTrouble = Problem | "denied" | "busy";

/**
 * Why a device does not send, where somebody has to do something about it. Null where it is the network,
 * which comes back by itself.
 */
export function sendingTrouble(error: unknown): SendTrouble | null {
  if (error instanceof Problem) {
    return error.status >= 400 && error.status < 500 && !PASSING.includes(error.status) ? error : null;
  }
  if (!(error instanceof DOMException)) return null;
  if (error.name === "NotAllowedError") return "denied";
  return error.name === "NotReadableError" ? "busy" : null;
}

interface Sent {
  type: string;
  kind?: string;
  packetsSent?: number;
}

/** Whether a report of the browser's says that a picture is to be sent, and nothing of it was. */
export function sendsNoPicture(report: Iterable<unknown>): boolean {
  const pictures = ([...report] as Sent[]).filter((item) => item.type === "outbound-rtp" && item.kind === "video");
  return pictures.length > 0 && pictures.every((item) => !item.packetsSent);
}

/** What WHEP and WHIP say of ICE: how it begins anew (RFC 8840; RFC 9725, 4.3), which servers help (4.6). Pure. */

/** Media type of a fragment. */
export const FRAGMENT = "application/trickle-ice-sdpfrag";

function lines(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line !== "");
}

function first(all: readonly string[], start: string): string | null {
  return all.find((line) => line.startsWith(start)) ?? null;
}

/** What a PATCH says of an offer with new credentials: all media share the first one's. Null where it has none. */
export function fragmentOf(offer: string): string | null {
  const all = lines(offer);
  const found = ["a=ice-ufrag:", "a=ice-pwd:", "m=", "a=mid:"].map((start) => first(all, start));
  return found.includes(null) ? null : [...found, ""].join("\r\n");
}

/**
 * The answer of before with the service's new credentials and candidates.
 *
 * @returns Null where `fragment` names no credentials.
 */
export function answerAnew(answer: string, fragment: string): string | null {
  const told = lines(fragment);
  const [name, password] = [first(told, "a=ice-ufrag:"), first(told, "a=ice-pwd:")];
  if (!name || !password) return null;
  const candidates = told.filter((line) => line.startsWith("a=candidate:"));
  const renewed = lines(answer).flatMap((line) => {
    if (line.startsWith("a=ice-ufrag:")) return [name];
    // Behind the password, wherever the answer had them: a section's attributes stand in any order.
    if (line.startsWith("a=ice-pwd:")) return [password, ...candidates];
    return line.startsWith("a=candidate:") ? [] : [line];
  });
  return [...renewed, ""].join("\r\n");
}

const SERVER = /<((?:stun|turn)s?:[^>]+)>((?:\s*;\s*[\w-]+="(?:[^"\\]|\\.)*")+)/gi;
const ATTRIBUTE = /([\w-]+)="((?:[^"\\]|\\.)*)"/g;

/** The ICE servers that Link headers name; several headers come to a page as one, with commas. */
export function serversOf(links: string | null): RTCIceServer[] {
  return [...(links ?? "").matchAll(SERVER)].flatMap(([, url, rest]) => {
    const words = new Map([...(rest ?? "").matchAll(ATTRIBUTE)].map(([, name, value]) => [name, value ?? ""]));
    if (!url || words.get("rel") !== "ice-server") return [];
    const [username, credential] = [words.get("username"), words.get("credential")];
    return [username && credential ? { urls: url, username, credential } : { urls: url }];
  });
}

import { describe, expect, it } from "vitest";
import { answerAnew, fragmentOf, serversOf } from "@/lib/ice";

const OFFER = [
  "v=0",
  "a=group:BUNDLE 0 1",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111",
  "a=ice-ufrag:mine",
  "a=ice-pwd:secret",
  "a=mid:0",
  "m=video 9 UDP/TLS/RTP/SAVPF 96",
  "a=ice-ufrag:mine",
  "a=ice-pwd:secret",
  "a=mid:1",
  "",
].join("\r\n");
const ANSWER = OFFER.replaceAll("mine", "theirs").replaceAll(
  "a=ice-pwd:secret",
  "a=ice-pwd:old\r\na=candidate:1 1 udp 5 192.0.2.1 8189 typ host\r\na=end-of-candidates",
);
const FRAGMENT =
  "a=ice-lite\r\na=ice-ufrag:new\r\na=ice-pwd:newer\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n" +
  "a=candidate:1 1 udp 5 198.51.100.1 8189 typ host\r\na=end-of-candidates\r\n";

describe("ICE that begins anew", () => {
  it("names the new credentials and one medium, nothing else", () => {
    expect(fragmentOf(OFFER)).toBe(
      "a=ice-ufrag:mine\r\na=ice-pwd:secret\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n",
    );
    expect(fragmentOf("v=0\r\n")).toBeNull();
  });

  it("takes the service's credentials and candidates into every medium of the answer", () => {
    const anew = answerAnew(ANSWER, FRAGMENT) ?? "";
    expect(anew.match(/a=ice-ufrag:new\r\na=ice-pwd:newer\r\na=candidate:.* 198\.51\.100\.1 /g)).toHaveLength(2);
    expect(anew).not.toMatch(/theirs|old|192\.0\.2\.1/);
    expect(anew.match(/^m=.*$/gm)).toEqual(ANSWER.match(/^m=.*$/gm));
    expect(answerAnew(ANSWER, "v=0\r\n")).toBeNull();
  });
});

describe("ICE servers", () => {
  it("are read from headers that the browser has put together", () => {
    const links =
      '<stun:s.example>; rel="ice-server", <turn:t.example:3478?transport=tcp>; rel="ice-server"; ' +
      'username="1:sanhui"; credential="a,b=;"; credential-type="password", <https://x.example>; rel="next"';
    expect(serversOf(links)).toEqual([
      { urls: "stun:s.example" },
      { urls: "turn:t.example:3478?transport=tcp", username: "1:sanhui", credential: "a,b=;" },
    ]);
    expect(serversOf(null)).toEqual([]);
    expect(serversOf("nonsense")).toEqual([]);
  });
});

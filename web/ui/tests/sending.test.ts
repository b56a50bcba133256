import { describe, expect, it } from "vitest";
import { Problem } from "@/lib/problem";
import { sendingTrouble, sendsNoPicture } from "@/lib/sending";
import en from "@/locales/en.json";
import zhCN from "@/locales/zh-CN.json";

function said(status: number): Problem {
  return new Problem({ title: "这台设备的画面录不下来", detail: "请换用 Chrome 或 Edge。", status, code: "any" });
}

describe("what keeps a device from sending", () => {
  it("is told in the service's words where somebody has to mend it", () => {
    for (const status of [406, 409]) expect(sendingTrouble(said(status))).toEqual(said(status));
  });

  it("is told where the browser keeps the camera back", () => {
    const found = ["NotAllowedError", "NotReadableError"].map((name) => sendingTrouble(new DOMException("", name)));
    expect(found).toEqual(["denied", "busy"]);
    for (const catalog of [zhCN, en]) {
      expect(Object.keys(catalog.room.sendTrouble)).toEqual(expect.arrayContaining(found));
    }
  });

  it("is the network, or mends itself, otherwise", () => {
    for (const status of [0, 401, 403, 404, 429, 500, 503]) expect(sendingTrouble(said(status))).toBeNull();
    for (const error of [new DOMException("", "NotFoundError"), new Error("no address yet"), undefined]) {
      expect(sendingTrouble(error)).toBeNull();
    }
  });

  it("is an encoder that brings nothing, not one that has begun nor a device without a picture", () => {
    const sound = { type: "outbound-rtp", kind: "audio", packetsSent: 400 };
    // As Firefox counts where its H.264 encoder fails: connected, and never a packet.
    const picture = { type: "outbound-rtp", kind: "video", packetsSent: 0, framesEncoded: 0 };
    expect(sendsNoPicture([sound, picture])).toBe(true);
    expect(sendsNoPicture([sound, { ...picture, packetsSent: 1 }])).toBe(false);
    expect(sendsNoPicture([sound, { ...picture, type: "remote-inbound-rtp" }])).toBe(false);
    expect(sendsNoPicture([])).toBe(false);
  });
});

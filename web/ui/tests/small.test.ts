import { describe, expect, it } from "vitest";
import { createI18n } from "vue-i18n";
import { codecName, formatBitrate, formatBytes, formatRatio } from "@/lib/format";
import { readNdjson } from "@/lib/ndjson";
import { sparkline } from "@/lib/sparkline";
import { visibleRows } from "@/lib/virtual";
import en from "@/locales/en.json";
import zhCN from "@/locales/zh-CN.json";

function streamOf(chunks: Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

describe("NDJSON", () => {
  it("is read however it is cut, also inside a character", async () => {
    const bytes = new TextEncoder().encode('{"step":"连接"}\n\n{"step":"声音"}\n{"last":1}');
    for (let cut = 0; cut <= bytes.length; cut++) {
      const values = await all(readNdjson(streamOf([bytes.slice(0, cut), bytes.slice(cut)])));
      expect(values).toEqual([{ step: "连接" }, { step: "声音" }, { last: 1 }]);
    }
  });

  it("gives a value as soon as its line is whole", async () => {
    let push: (chunk: Uint8Array) => void = () => undefined;
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        push = (chunk) => controller.enqueue(chunk);
      },
    });
    const values = readNdjson(stream);
    push(new TextEncoder().encode('{"a":1}\n{"b"'));
    expect((await values.next()).value).toEqual({ a: 1 });
    await values.return(undefined);
  });
});

describe("rows in sight", () => {
  it("are few of many", () => {
    const { first, last } = visibleRows(7600, 900, 76, 1000);
    expect(first).toBeLessThanOrEqual(100);
    expect(last).toBeGreaterThanOrEqual(112);
    expect(last - first).toBeLessThan(40);
  });

  it("stay within the list", () => {
    expect(visibleRows(-300, 900, 76, 5)).toEqual({ first: 0, last: 5 });
    expect(visibleRows(1e9, 900, 76, 5)).toEqual({ first: 5, last: 5 });
    expect(visibleRows(0, 900, 76, 0)).toEqual({ first: 0, last: 0 });
  });
});

describe("numbers with their unit", () => {
  it("are short", () => {
    expect(formatBitrate(2_140_000)).toBe("2.1 Mb/s");
    expect(formatBitrate(348_000)).toBe("348 kb/s");
    expect(formatBitrate(0)).toBe("");
    expect(formatBytes(83_400_000)).toBe("83 MB");
    expect(formatBytes(1_240_000_000)).toBe("1.2 GB");
    expect(codecName("pcma")).toBe("G.711A");
    expect(codecName("vp9")).toBe("vp9");
  });

  it("never round a small loss away", () => {
    expect(formatRatio(0)).toBe("0 %");
    expect(formatRatio(0.00001)).toBe("< 0.01 %");
    expect(formatRatio(0.0002)).toBe("0.02 %");
    expect(formatRatio(0.013)).toBe("1.3 %");
  });
});

describe("sparkline", () => {
  it("is nothing for nothing", () => {
    expect(sparkline([], 96, 24)).toBe("");
    expect(sparkline([5], 96, 24)).toBe("");
    expect(sparkline([0, 0, 0], 96, 24)).toBe("");
  });

  it("falls to the bottom at a loss", () => {
    expect(sparkline([100, 0], 96, 24)).toMatch(/^M0\.0 [\d.]+L96\.0 23\.0$/);
  });
});

describe("catalogs", () => {
  const keysOf = (messages: object, above = ""): string[] =>
    Object.entries(messages).flatMap(([key, value]) =>
      typeof value === "string" ? [`${above}${key}`] : keysOf(value as object, `${above}${key}.`),
    );
  const textOf = (messages: object, key: string): string =>
    key.split(".").reduce<unknown>((found, part) => (found as Record<string, unknown>)[part], messages) as string;
  const fieldsOf = (text: string): string[] => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort();

  it("have the same keys and the same fields", () => {
    expect(keysOf(en)).toEqual(keysOf(zhCN));
    for (const key of keysOf(zhCN))
      expect([key, fieldsOf(textOf(en, key))]).toEqual([key, fieldsOf(textOf(zhCN, key))]);
  });

  it("are all read by who shows them", () => {
    for (const [language, messages] of Object.entries({ "zh-CN": zhCN, en })) {
      const { t } = createI18n({ legacy: false, locale: language, messages: { [language]: messages } }).global;
      for (const key of keysOf(messages)) expect([key, t(key, {})]).not.toEqual([key, key]);
    }
  });

  it("speak Chinese in the Chinese interface", () => {
    // Names of protocols and their fields, of browsers, players and of the other language may stay as they are.
    const allowed =
      /rtsp|RTSP|WHEP|Bearer Token|GStreamer|OBS|VLC|TCP|UDP|https|SHA-256|OK|\/room|Safari|Edge|Chrome|English|Streaming|Channels|cam|realmonitor|channel|subtype|[FM](?= )|km|H\.\d+/g;
    for (const key of keysOf(zhCN)) {
      const text = textOf(zhCN, key)
        .replaceAll(/\{\w+\}/g, "")
        .replaceAll(allowed, "");
      expect([key, text.match(/[A-Za-z]{2,}/)?.[0]]).toEqual([key, undefined]);
    }
  });
});

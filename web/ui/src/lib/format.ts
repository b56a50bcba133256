/** Numbers with their unit. Pure. */

/** 2.1 Mb/s, 340 kb/s; an empty text for nothing. */
export function formatBitrate(bitsPerSecond: number): string {
  if (bitsPerSecond <= 0) return "";
  if (bitsPerSecond >= 1_000_000) return `${(bitsPerSecond / 1_000_000).toFixed(1)} Mb/s`;
  return `${Math.round(bitsPerSecond / 1000)} kb/s`;
}

/** 820 MB, 1.2 GB. */
export function formatBytes(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  if (bytes >= 1e6) return `${Math.round(bytes / 1e6)} MB`;
  return `${Math.max(0, Math.round(bytes / 1e3))} kB`;
}

/** 0 %, 0.02 %, 1.3 %; small losses are never rounded away to nothing. */
export function formatRatio(ratio: number): string {
  const percent = ratio * 100;
  if (percent === 0) return "0 %";
  if (percent < 0.01) return "< 0.01 %";
  return `${percent < 1 ? percent.toFixed(2) : percent.toFixed(1)} %`;
}

const CODEC_NAMES: Record<string, string> = {
  h264: "H.264",
  h265: "H.265",
  pcma: "G.711A",
  pcmu: "G.711µ",
  aac: "AAC",
  opus: "Opus",
};

/** The name that people write for a codec. */
export function codecName(codec: string): string {
  return CODEC_NAMES[codec.toLowerCase()] ?? codec;
}

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const css = readFileSync(new URL("../src/styles/tokens.css", import.meta.url), "utf8");

function tokens(selector: string): Map<string, string> {
  const start = css.indexOf(`${selector} {`);
  const block = css.slice(start, css.indexOf("}", start));
  return new Map(
    [...block.matchAll(/(--[\w-]+):\s*(#[0-9a-f]{6});/g)].map((found) => [found[1] ?? "", found[2] ?? ""]),
  );
}

const light = tokens(":root");
const themes = { light, dark: new Map([...light, ...tokens("html.dark")]) };

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** WCAG 2.2, relative luminance and contrast ratio. */
function contrast(one: string, other: string): number {
  const [dark = 0, bright = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}

const GROUNDS = ["--ground", "--surface", "--surface-sunk", "--quiet-soft"];

describe.each(Object.entries(themes))("colours of the %s theme", (_name, theme) => {
  const of = (token: string): string => theme.get(token) ?? "";

  it.each(GROUNDS)("show where a field ends on %s (1.4.11)", (ground) => {
    expect(contrast(of("--field-line"), of(ground))).toBeGreaterThanOrEqual(3);
  });

  it.each(GROUNDS)("can be read on %s (1.4.3)", (ground) => {
    for (const ink of ["--ink", "--ink-2", "--ink-3"])
      expect(contrast(of(ink), of(ground))).toBeGreaterThanOrEqual(4.5);
  });
});

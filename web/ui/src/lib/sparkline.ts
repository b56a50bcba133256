/**
 * Path of a small line chart from zero to the largest value; empty for fewer than two values, and for nothing but zeros.
 *
 * The scale begins at zero, so that a steady stream is a steady line and a loss is seen as a dip.
 */
export function sparkline(values: readonly number[], width: number, height: number): string {
  if (values.length < 2 || Math.max(...values) <= 0) return "";
  const top = Math.max(...values, 1) * 1.15;
  const step = width / (values.length - 1);
  return values
    .map((value, index) => {
      const x = (index * step).toFixed(1);
      const y = (height - 1 - (Math.max(0, value) / top) * (height - 2)).toFixed(1);
      return `${index === 0 ? "M" : "L"}${x} ${y}`;
    })
    .join("");
}

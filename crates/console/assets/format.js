// Numbers and times for people. What is unknown is "–", never zero.

export const UNKNOWN = "–";

export function count(number) {
  if (number === null || number === undefined) return UNKNOWN;
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (number >= size) {
      const scaled = number / (unit === "k" ? 1e3 : size);
      return `${scaled >= 99.5 ? Math.round(scaled) : +scaled.toFixed(1)}${unit}`;
    }
  }
  return String(number);
}

export function rate(number) {
  if (number === null || number === undefined) return UNKNOWN;
  if (number > 0 && number < 0.005) return "<0.01/s";
  return number >= 1e4 ? `${count(number)}/s` : `${+number.toFixed(number < 10 ? 2 : 0)}/s`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  const units = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const first = units.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0s";
  const [size, unit] = units[first];
  const rest = units[first + 1];
  const more = rest ? Math.floor((seconds % size) / rest[0]) : 0;
  return `${Math.floor(seconds / size)}${unit}${more ? `${more}${rest[1]}` : ""}`;
}

export function ago(time) {
  if (!time) return UNKNOWN;
  return duration(Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000)));
}

// Health as a sign, beside the colour.
export const SIGN = { Healthy: "✓", NotReady: "◌", Stalled: "■", Degraded: "✕" };
export const WORD = { Healthy: "healthy", NotReady: "not ready", Stalled: "stalled", Degraded: "degraded" };

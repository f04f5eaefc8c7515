// Strings come with the page (strings.en.json); this fills in their {holes}.
export function speaker(strings) {
  return (key, values = {}) => (strings[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

// " About 18 s left.", or nothing where nobody knows.
export function timeLeft(say, seconds) {
  if (!Number.isFinite(seconds) || seconds === null) return "";
  if (seconds < 100) return say("left_s", { n: Math.max(1, Math.round(seconds)) });
  return say("left_min", { n: Math.round(seconds / 60) });
}

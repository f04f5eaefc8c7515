// Texts come with the page, one set a language (strings.*.json). This chooses the set, and fills in its {holes}.

// ?lang= first, then what the browser asks for (its Accept-Language), then English.
export function chosenLanguage(languages) {
  const asked = [new URLSearchParams(location.search).get("lang"), ...(navigator.languages ?? [])];
  const tags = asked.filter(Boolean).map((tag) => tag.toLowerCase().split("-")[0]);
  return tags.find((tag) => Object.hasOwn(languages, tag)) ?? "en";
}

// say.words(…) is for words of designs, which the server sends in English; of one's own designs they stay as they are.
export function speaker(strings) {
  const say = (key, values = {}) => (strings[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
  say.words = (words) => strings.words[words] ?? words;
  return say;
}

// The texts that never change: data-text is an element's content, data-label its name.
export function translate(root, say) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
}

// "{base}_1" for one, "{base}_n" for more, "{base}_0" where there is one for none.
export const counted = (say, base, n, values = {}) => say(`${base}_${n > 1 ? "n" : n}`, { n, ...values });

// " About 18 s left.", or nothing where nobody knows.
export function timeLeft(say, seconds) {
  if (!Number.isFinite(seconds) || seconds === null) return "";
  if (seconds < 100) return say("left_s", { n: Math.max(1, Math.round(seconds)) });
  return say("left_min", { n: Math.round(seconds / 60) });
}

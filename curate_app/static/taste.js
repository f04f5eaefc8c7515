// Under the slate, in a demo: what the rater's own picks so far say, as words and bars with their intervals.
import { getTaste } from "./api.js";

const SHOWN = 5;
const tenths = (language) => new Intl.NumberFormat(language, { maximumFractionDigits: 1, minimumFractionDigits: 1 });

// From the largest lower end on. The whole width is from `least`, the lowest end of an interval, or 0, to `most`, the highest.
function row({ words, value, low, high }, least, most, say, language) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.textContent = say.words(words);
  const bar = document.createElement("span");
  bar.className = "bar";
  const percent = (x) => `${((100 * x) / (most - least)).toFixed(1)}%`;
  for (const [part, from, to] of [["interval", low, high], ["estimate", 0, value], ...(least < 0 ? [["zero", 0, null]] : [])]) {
    const piece = document.createElement("i");
    piece.className = part;
    piece.style.insetInlineStart = percent(from - least);
    if (to !== null) piece.style.inlineSize = percent(to - from);
    bar.append(piece);
  }
  const [at, from, to] = [value, low, high].map((x) => tenths(language).format(Math.round(10 * x) / 10 + 0).replace("-", "−"));
  const figures = document.createElement("span");
  figures.className = "figures";
  figures.textContent = `${at} (${from} – ${to})`;
  item.className = low > 0 ? "clear" : "unclear";
  item.append(name, bar, figures);
  return item;
}

// Shows the taste behind the picks so far; a failure leaves what is there.
export async function showTaste(section, say) {
  const { picks, leanings, predicted, hits, chance, of_classes } = await getTaste();
  section.hidden = picks === 0;
  const language = section.closest("[lang]").lang;
  const shown = leanings.filter(({ low }) => low > 0).slice(0, SHOWN);
  while (shown.length < Math.min(3, leanings.length)) shown.push(leanings[shown.length]);
  const most = Math.max(...shown.map(({ high }) => high), 0.1);
  const least = Math.min(...shown.map(({ low }) => low), 0);
  section.querySelector("ul").replaceChildren(...shown.map((one) => row(one, least, most, say, language)));
  const clear = leanings.filter(({ low }) => low > 0).slice(0, 3).map(({ words }) => say.words(words));
  const list = new Intl.ListFormat(language, { type: "conjunction" });
  const words = leanings.length === 0 ? "taste_few" : clear.length ? "taste_likes" : "taste_unclear";
  section.querySelector(".likes").textContent = say(words, { likes: list.format(clear), picks });
  section.querySelector(".about").textContent = say(of_classes ? "taste_about_classes" : "taste_about");
  const guesses = `taste_guesses_${predicted > 1 ? "n" : hits}`; // of a single one there is no count, and no share by chance
  const guessed = predicted ? say(guesses, { hits, predicted, chance: tenths(language).format(chance) }) : "";
  section.querySelector(".guesses").textContent = guessed;
}

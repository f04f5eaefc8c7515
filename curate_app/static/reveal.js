// Under the slate, in a demo: the generator before and after, from the same noise, beside each other and as a slow
// crossfade; a row for every generation; what moved most, in words; and the way so far as a picture to keep.
import { getGenerations } from "./api.js";
import { fit } from "./slate.js";
import { counted } from "./strings.js";

const LARGEST_REM = 32;
const STEPS = 100; // of the slider, from one generation to the next
const SLOW_MS = 2600; // from one generation to the next
const LONGEST_MS = 13000; // from the first to the latest
const STILL_MS = 1500; // a generation stays as long where nothing may move
const MOVED = { line: "moved_line", toward: "moved_toward", away: "moved_away" };
const ROUND = { grew: "moved_grew", shrank: "moved_shrank" };

// Sheets in a row, each as large as fits and crisp.
export function fitSheets(section) {
  const sheets = section?.querySelector(".sheets");
  if (!sheets?.clientWidth) return;
  const style = getComputedStyle(sheets);
  const gap = parseFloat(style.columnGap) || 0;
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const columns = style.gridTemplateColumns.split(" ").length;
  const room = Math.min((sheets.clientWidth - gap * (columns - 1)) / columns, LARGEST_REM * rem);
  const alone = columns < 3 ? Math.min(sheets.clientWidth, LARGEST_REM * rem) : room; // on a phone, under the two
  for (const image of sheets.querySelectorAll("img")) fit(image, image.closest(".fade") ? alone : room);
}

async function load(generation, say) {
  const image = new Image();
  image.src = generation.grid;
  image.alt = say("reveal_alt", { t: generation.t });
  await image.decode();
  return image;
}

// What moved, in a few words; of a class its share.
function movedWords({ way, name, words, before, after, digits }, say, language) {
  if (way === "share") {
    const percent = new Intl.NumberFormat(language, { style: "percent" });
    const key = after > before ? ROUND.grew : ROUND.shrank;
    return say(key, { name, from: percent.format(before), to: percent.format(after) });
  }
  const number = new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const [from, to, amount] = [before, after, Math.abs(after - before)].map((x) => number.format(x));
  return say(MOVED[way], { name: say.words(name), words: say.words(words), from, to, amount });
}

function sentence({ first, latest, moved, unchanged }, total, say, language) {
  const [from, to] = [first.t, latest.t];
  if (from === to) return counted(say, "reveal_only", total);
  if (!moved) return unchanged ? say("reveal_still", { first: from, latest: to }) : "";
  if (moved.way !== "share") return say("reveal_factor", { first: from, latest: to, moved: movedWords(moved, say, language) });
  const percent = new Intl.NumberFormat(language, { style: "percent" });
  const shares = { from: percent.format(moved.before), to: percent.format(moved.after) };
  return say(moved.after > moved.before ? "reveal_moved" : "reveal_shrank", { first: from, latest: to, name: moved.name, ...shares });
}

// A row of the strip: the generation's number, its first pictures, what moved in its round.
function row(generation, say, language) {
  const item = document.createElement("li");
  const number = document.createElement("b");
  number.textContent = generation.t;
  const pictures = document.createElement("div");
  pictures.className = generation.columns ? "row" : "plot";
  pictures.style.setProperty("--columns", generation.columns);
  const image = new Image();
  image.loading = "lazy";
  image.src = generation.grid;
  image.alt = say("strip_alt", { t: generation.t });
  pictures.append(image);
  const words = document.createElement("span");
  words.textContent = generation.moved ? movedWords(generation.moved, say, language) : "";
  item.append(number, pictures, words);
  return item;
}

// The crossfade through all generations: layers over each other, the slider's value says how far up they show.
class Fade {
  constructor(figure, say) {
    Object.assign(this, { figure, say, from: 0, generations: [] });
    [this.layers, this.button, this.slider, this.output] = [".layers", "button", "input", "output"].map((some) => figure.querySelector(some));
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.button.addEventListener("click", () => (this.playing ? this.rest() : this.play()));
    this.slider.addEventListener("input", () => this.rest());
    this.still.addEventListener("change", () => this.step());
    // A new generation plays once, when it is in view.
    this.observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting) || this.still.matches) return;
      this.observer.disconnect();
      this.play();
    }, { threshold: 0.6 });
  }

  get playing() {
    return this.button.getAttribute("aria-pressed") === "true";
  }

  get last() {
    return (this.generations.length - 1) * STEPS;
  }

  show(generations, images) {
    this.stop();
    this.generations = generations;
    this.layers.replaceChildren(...images);
    for (const image of images) image.alt = "";
    this.slider.max = this.last;
    this.slider.value = this.last;
    this.draw();
    this.observer.disconnect();
    this.observer.observe(this.layers);
  }

  // Nothing in between where motion is reduced; the arrow keys go a tenth of a round at a time.
  step() {
    this.slider.step = this.still.matches ? STEPS : STEPS / 10;
  }

  draw() {
    const value = Number(this.slider.value) / STEPS;
    [...this.layers.children].forEach((image, index) => {
      const share = Math.min(1, Math.max(0, value - index + 1));
      image.style.opacity = index === 0 ? 1 : share * share * (3 - 2 * share);
      image.style.visibility = index === 0 || share > 0 ? "visible" : "hidden";
    });
    const [below, above] = [this.generations[Math.floor(value)].t, this.generations[Math.ceil(value)].t];
    this.output.textContent = this.generations[Math.round(value)].t;
    const between = this.say("fade_between", { t: below, next: above });
    this.slider.setAttribute("aria-valuetext", below === above ? this.say("fade_at", { t: below }) : between);
  }

  press(is) {
    this.button.setAttribute("aria-pressed", String(is));
    this.button.setAttribute("aria-label", this.say(is ? "fade_pause" : "fade_play"));
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.press(false);
    this.step();
  }

  // Stops at the nearest step.
  rest() {
    this.stop();
    this.draw();
  }

  // From where the slider stands, from the start where that is the end.
  play() {
    const start = Number(this.slider.value) >= this.last ? 0 : Number(this.slider.value);
    const rounds = this.generations.length - 1;
    const roundMs = this.still.matches ? STILL_MS : Math.min(SLOW_MS, LONGEST_MS / rounds);
    const began = performance.now();
    this.slider.step = 1;
    this.press(true);
    const next = (now) => {
      const value = Math.min(this.last, start + (STEPS * Math.max(0, now - began)) / roundMs);
      this.slider.value = this.still.matches && value < this.last ? Math.floor(value / STEPS) * STEPS : value;
      this.draw();
      if (value < this.last) this.frame = requestAnimationFrame(next);
      else this.stop();
    };
    this.frame = requestAnimationFrame(next);
  }
}

const fades = new WeakMap();

// Shows the latest generation against the first; a failure leaves what is there, the next generation tries again.
export async function reveal(section, total, say) {
  const movement = await getGenerations();
  const { first, latest, generations } = movement;
  if (!latest) return;
  const language = section.closest("[lang]").lang;
  const alone = first.t === latest.t;
  const [before, after, fade, same, strip, share] = [".before", ".after", ".fade", ".same", ".strip", ".share"].map((some) => section.querySelector(some));
  const images = await Promise.all([first, latest, ...(alone ? [] : generations)].map((some) => load(some, say)));
  for (const [figure, image, key] of [[before, images[0], "reveal_first"], [after, images[1], first.grid === latest.grid ? "reveal_unchanged" : "reveal_latest"]]) {
    figure.querySelector("img")?.remove();
    figure.append(image);
    figure.querySelector("figcaption").textContent = say(key, { t: figure === before ? first.t : latest.t });
  }
  section.querySelector(".moved").textContent = sentence(movement, total, say, language);
  for (const part of [after, fade, same, strip, share]) part.hidden = alone;
  strip.querySelector("ol").replaceChildren(...generations.map((some) => row(some, say, language)));
  share.href = `api/way.png?lang=${language}`;
  section.hidden = false;
  if (!fades.has(section)) fades.set(section, new Fade(fade, say));
  if (!alone) fades.get(section).show(generations, images.slice(2));
  fitSheets(section);
}

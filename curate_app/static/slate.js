// One slate on the screen: its buttons, and how large they may be. Small images grow by whole device pixels, so they stay crisp.
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const LARGEST_REM = 60;
const MEASURE_REM = 38; // of a text's card; lines over that are hard to read
const LEAST = 44; // pixels, for a finger
const NARROWEST_REM = 14; // of a text's card
const LARGER = [2.2, 2, 1.8, 1.65, 1.5, 1.35, 1.2, 1.1, 1]; // of a text's type: the largest that leaves every text of the slate in view
const ROUNDING = 2; // pixels by which a card may come out wider than its parts
const RAGGED = 0.12; // how much a last row that isn't full counts against a grid

// Keys 1..9, then letters.
export const keyOf = (index) => (index < 9 ? String(index + 1) : LETTERS[index - 9] ?? "");

async function load(item) {
  if (!item.image) return null;
  const image = new Image();
  image.src = item.image;
  image.alt = "";
  image.draggable = false;
  image.decoding = "sync";
  await image.decode();
  return image;
}

// All images, decoded (null for a text); throws when one doesn't load.
export const loadAll = (slate) => Promise.all(slate.items.map(load));

export function preload(slate) {
  if (slate) loadAll(slate).catch(() => {});
}

export function fill(group, slate, images, say) {
  const words = slate.items.some((item) => !item.image);
  group.setAttribute("aria-label", say(words ? "group_text" : "group", { k: slate.items.length }));
  group.classList.toggle("texts", words);
  group.replaceChildren(...slate.items.map((item, index) => choice(item, index, images[index], say)));
}

// A text's card scrolls where the text is long, which a button can't do in every browser.
function choice(item, index, image, say) {
  const card = document.createElement(image ? "button" : "div");
  const key = keyOf(index);
  card.className = "choice";
  card.dataset.position = item.position;
  if (key) card.setAttribute("aria-keyshortcuts", key);
  const content = document.createElement("span");
  if (image) {
    card.type = "button";
    card.setAttribute("aria-label", say("image", { n: index + 1 }));
    content.className = "frame";
    content.append(image);
  } else {
    card.setAttribute("role", "button");
    card.tabIndex = 0;
    content.className = "words";
    content.dir = "auto";
    content.textContent = item.text;
  }
  const label = document.createElement("kbd");
  label.setAttribute("aria-hidden", "true");
  label.textContent = key.toUpperCase();
  card.append(content, label);
  return card;
}

// The side of an image: a whole number of device pixels for each of its own as long as it is small.
export function crispSide(natural, side, density) {
  const steps = Math.floor((side * density) / natural);
  return steps >= 2 ? (steps * natural) / density : side;
}

// {columns, width, height of a cell, area, height used} of the grid in which `shapes`, [width, height] each, come out largest.
// Texts have no shape: their cards grow up to a line that is well read, and rather wide than high.
export function bestGrid(shapes, width, height, gap, chromeX, chromeY, measure) {
  let best = { columns: 1, width: LEAST, height: LEAST, area: 0, used: 0, score: -1 };
  for (let columns = 1; columns <= shapes.length; columns += 1) {
    const rows = Math.ceil(shapes.length / columns);
    const cell = [(width - gap * (columns - 1)) / columns - chromeX - ROUNDING, (height - gap * (rows - 1)) / rows - chromeY];
    if (Math.min(...cell) <= 0) continue;
    const areas = shapes.map((shape) => {
      if (!shape) return Math.min(cell[0], measure) ** 1.5 * cell[1];
      return shape[0] * shape[1] * Math.min(cell[0] / shape[0], cell[1] / shape[1]) ** 2;
    });
    const area = areas.reduce((sum, one) => sum + one, 0);
    const score = area * (1 - RAGGED * ((rows * columns - shapes.length) / columns)) ** 2;
    if (score <= best.score) continue;
    const high = ([across, down]) => Math.min(cell[1], (cell[0] * down) / across);
    const used = rows * (Math.max(...shapes.map((shape) => (shape ? high(shape) : cell[1]))) + chromeY + gap) - gap;
    best = { columns, width: cell[0], height: cell[1], area, used, score };
  }
  return best;
}

// The best grid for the slate in view, or for `k` items like its first, in a room of that size.
export function plan(group, width, height, k = group.children.length) {
  const choices = [...group.children];
  const style = getComputedStyle(choices[0]);
  const label = choices[0].querySelector("kbd");
  const shown = getComputedStyle(label).display !== "none" && getComputedStyle(label).position !== "absolute";
  const pad = 2 * parseFloat(style.paddingLeft) + 2 * parseFloat(style.borderLeftWidth);
  const labelled = shown ? label.offsetHeight + parseFloat(style.rowGap || 0) : 0;
  const gap = parseFloat(getComputedStyle(group).columnGap) || 0;
  const shapes = choices.map((one) => one.querySelector("img")).map((image) => image && [image.naturalWidth || 1, image.naturalHeight || 1]);
  while (shapes.length < k) shapes.push(shapes[0]);
  return { gap, pad, ...bestGrid(shapes, width, height, gap, pad, pad + labelled, MEASURE_REM * rem()) };
}

// Gives the slate in view the sizes of a plan.
export function arrange(group, { columns, width, height, gap, pad }) {
  const most = LARGEST_REM * rem();
  const images = [...group.querySelectorAll("img")];
  const cards = [...group.children].filter((card) => card.matches("div"));
  const wide = cards.length ? arrangeTexts(group, cards, Math.max(LEAST, Math.min(width, MEASURE_REM * rem())) + pad, Math.max(LEAST, height) + pad) - pad : 0;
  const sizes = images.map((image) => fit(image, Math.max(LEAST, Math.min(width, most)), Math.max(LEAST, Math.min(height, most))));
  const widest = cards.length ? wide : Math.max(...sizes);
  // Room for exactly that many in a row; the rest of the last row stands in the middle.
  group.style.maxWidth = `${Math.ceil(columns * (Math.max(LEAST, widest + pad) + gap) - gap) + 1}px`;
}

// Texts in the largest type that fits, on cards as wide as the widest needs and as high as the highest; gives the width.
function arrangeTexts(group, cards, width, height) {
  let across = width;
  for (const larger of LARGER) {
    group.closest(".rater").style.setProperty("--larger", larger);
    for (const card of cards) Object.assign(card.style, { width: "max-content", height: "auto", maxWidth: `${width}px`, maxHeight: `${height}px` });
    across = Math.min(width, Math.max(NARROWEST_REM * rem(), ...cards.map((card) => Math.ceil(card.getBoundingClientRect().width) + 1)));
    for (const card of cards) card.style.width = `${across}px`;
    if (cards.every((card) => card.scrollHeight <= card.clientHeight)) break;
  }
  const high = Math.max(...cards.map((card) => card.offsetHeight));
  for (const card of cards) card.style.height = `${high}px`;
  return across;
}

// Gives an image the size that fills a room, and says how wide it became.
export function fit(image, width, height = width) {
  const [across, down] = [image.naturalWidth || 1, image.naturalHeight || 1];
  const density = devicePixelRatio || 1;
  const natural = Math.max(across, down);
  const side = natural * Math.min(width / across, height / down);
  const scale = crispSide(natural, side, density) / natural;
  image.style.width = `${across * scale}px`;
  image.style.height = `${down * scale}px`;
  image.classList.toggle("small", natural * 2 <= side * density);
  return across * scale;
}

const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

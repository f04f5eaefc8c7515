// One slate on the screen: its buttons, and how large they may be. Small images grow by whole device pixels, so they stay crisp.
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const LARGEST_REM = 44;
const ROUNDING = 2; // pixels by which a card may come out wider than its parts

// Keys 1..9, then letters.
export const keyOf = (index) => (index < 9 ? String(index + 1) : LETTERS[index - 9] ?? "");

async function load(item) {
  const image = new Image();
  image.src = item.image;
  image.alt = "";
  image.draggable = false;
  image.decoding = "sync";
  await image.decode();
  return image;
}

// All images, decoded; throws when one doesn't load.
export const loadAll = (slate) => Promise.all(slate.items.map(load));

export function preload(slate) {
  if (slate) loadAll(slate).catch(() => {});
}

export function fill(group, slate, images, say) {
  group.setAttribute("aria-label", say("group", { k: slate.items.length }));
  group.replaceChildren(...slate.items.map((item, index) => choice(item, index, images[index], say)));
}

function choice(item, index, image, say) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "choice";
  button.dataset.position = item.position;
  button.setAttribute("aria-label", say("image", { n: index + 1 }));
  const key = keyOf(index);
  if (key) button.setAttribute("aria-keyshortcuts", key);
  const frame = document.createElement("span");
  frame.className = "frame";
  frame.append(image);
  const label = document.createElement("kbd");
  label.setAttribute("aria-hidden", "true");
  label.textContent = key.toUpperCase();
  button.append(frame, label);
  return button;
}

// The number of columns that makes the images largest; of nearly equal ones, the one with the fullest rows.
export function bestColumns(k, width, height, gap, chromeX, chromeY) {
  let best = { columns: k, side: 0, score: 0 };
  for (let columns = 1; columns <= k; columns += 1) {
    const rows = Math.ceil(k / columns);
    const across = (width - gap * (columns - 1)) / columns - chromeX - ROUNDING;
    const side = Math.min(across, (height - gap * (rows - 1)) / rows - chromeY);
    const score = side * (1 - 0.12 * ((rows * columns - k) / columns));
    if (score > best.score) best = { columns, side, score };
  }
  return best;
}

// The side of an image: a whole number of device pixels for each of its own as long as it is small.
export function crispSide(natural, side, density) {
  const steps = Math.floor((side * density) / natural);
  return steps >= 2 ? (steps * natural) / density : side;
}

export function arrange(group, width, height) {
  const choices = [...group.children];
  if (!choices.length) return;
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const style = getComputedStyle(choices[0]);
  const pad = 2 * parseFloat(style.paddingLeft) + 2 * parseFloat(style.borderLeftWidth);
  const label = choices[0].querySelector("kbd");
  const labelled = getComputedStyle(label).display === "none" ? 0 : label.offsetHeight + parseFloat(style.rowGap || 0);
  const gap = parseFloat(getComputedStyle(group).columnGap) || 0;
  const { columns, side } = bestColumns(choices.length, width, height, gap, pad, pad + labelled);
  const room = Math.max(44, Math.min(side, LARGEST_REM * rem));
  const widest = Math.max(...[...group.querySelectorAll("img")].map((image) => fit(image, room)));
  // Room for exactly that many in a row; the rest of the last row stands in the middle.
  group.style.maxWidth = `${Math.ceil(columns * (Math.max(44, widest + pad) + gap) - gap) + 1}px`;
}

// Gives an image its size within a square of side `room`, and says how wide it became.
export function fit(image, room) {
  const natural = Math.max(image.naturalWidth, image.naturalHeight) || 1;
  const density = devicePixelRatio || 1;
  const scale = crispSide(natural, room, density) / natural;
  image.style.width = `${image.naturalWidth * scale}px`;
  image.style.height = `${image.naturalHeight * scale}px`;
  image.classList.toggle("small", natural * 2 <= room * density);
  return image.naturalWidth * scale;
}

// What a panel's rater goes back with: the completion code, and the way back, taken by itself after a while.
import { element, stored } from "./dom.js";

const REDIRECT_S = 6;
const LEFT = "curate.left";

// The elements for a completion {code, url}; either may be empty.
export function ending(completion, say) {
  if (!completion) return [];
  const found = [];
  if (completion.code) {
    const code = element("code", { id: "code", className: "code", textContent: completion.code });
    const copy = element("button", { type: "button", className: "second", textContent: say("copy") });
    copy.dataset.act = "copy";
    found.push(element("p", { className: "soft", textContent: say("code") }), element("div", { className: "code-row" }, code, copy));
  }
  if (completion.url) found.push(...wayBack(completion.url, say));
  return found;
}

function wayBack(url, say) {
  const link = element("a", { className: "primary way-back", href: url, textContent: say("go_back") });
  const words = element("span", { className: "countdown" });
  const stay = element("button", { type: "button", className: "quiet", textContent: say("stay") });
  stay.dataset.act = "stay";
  return [element("div", { className: "actions" }, link), element("p", { className: "soft leaving" }, words, stay)];
}

// Counts down in `section` and leaves; only once for each address, so that coming back with the back button is no trap.
export function startLeaving(section, say) {
  const link = section.querySelector(".way-back");
  if (!link) return;
  if (stored(() => sessionStorage.getItem(LEFT)) === link.href) {
    stopLeaving(section);
    return;
  }
  let left = REDIRECT_S;
  const words = section.querySelector(".countdown");
  const tell = () => {
    words.textContent = say("leaving", { n: left });
  };
  const timer = setInterval(() => {
    left -= 1;
    if (left > 0 && words.isConnected) tell();
    else clearInterval(timer);
    if (left > 0 || !words.isConnected) return;
    stored(() => sessionStorage.setItem(LEFT, link.href));
    location.assign(link.href);
  }, 1000);
  tell();
}

export function stopLeaving(section) {
  section.querySelector(".leaving")?.remove();
}

// Where a page may not write to the clipboard (no https), the code is selected instead.
export async function copyCode(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return document.execCommand("copy");
  }
}

// The endings: what becomes of the answers and of payment, the code to hand in, and the way back.
import { element, stored } from "./dom.js";
import { counted } from "./strings.js";

const REDIRECT_S = 6;
const LEFT = "curate.left";
const PLACES = { prolific: "place_prolific", mturk: "place_mturk" };
const PAID = { prolific: "pay_prolific", mturk: "pay_mturk" };

// The name of the panel that raters come from and are paid by; "" in a study that is open or has links of its own.
export const placeOf = (say, panel) => (Object.hasOwn(PLACES, panel) ? say(PLACES[panel]) : "");

// Who finished a fixed number of slates did all of them, unless the researcher ended the study before.
export const isEarly = ({ state, progress: { mine } }) => state === "finished" && !(mine && mine.done >= mine.total);

// The sentences about payment; none where neither a panel nor a code says that anyone is paid.
function payment({ state, completion, completed }, say, panel) {
  const place = placeOf(say, panel);
  if (!place && !completion) return [];
  if (completed) {
    const holds = state === "withdrawn" ? [say("pay_holds")] : [];
    if (!completion) return [...holds, say("pay_no_code", { place })];
    return [...holds, say(completion.code ? PAID[panel] ?? "pay_other" : "pay_back")];
  }
  const began = ["failed", "withdrawn"].includes(state);
  const sentences = [say(began ? "pay_part" : "pay_none")];
  if (completion?.code) sentences.push(place ? say("hand_in", { place }) : say("hand_in_other"));
  else if (completion) sentences.push(say("hand_back"));
  else sentences.push(say(began ? "ask_them" : "return_submission", { place }));
  return sentences;
}

// What follows an ending's own sentences: payment, in the study's `words` where it has some, the code and the way back.
export function ending(turn, say, panel, words = null) {
  const { completion, completed, state } = turn;
  const sentences = [...(words ? [] : payment(turn, say, panel)), ...(completion ? [] : [say("close_page")])];
  const parts = words ? [words] : [];
  if (sentences.length) parts.push(element("p", { className: "soft payment", textContent: sentences.join(" ") }));
  if (completion?.code) {
    const code = element("code", { id: "code", className: "code", textContent: completion.code });
    const copy = element("button", { type: "button", className: "second", textContent: say("copy") });
    copy.dataset.act = "copy";
    const label = element("p", { className: "soft code-label", textContent: say(completed ? "code" : "leaving_code") });
    parts.push(label, element("div", { className: "code-row" }, code, copy));
  }
  if (completion?.url) parts.push(...wayBack(completion.url, say, placeOf(say, panel), state === "finished"));
  return parts;
}

// The link back; only who finished is taken there without pressing it.
function wayBack(url, say, place, byItself) {
  const link = element("a", { className: "primary way-back", href: url, textContent: place ? say("go_back_to", { place }) : say("go_back") });
  const actions = element("div", { className: "actions" }, link);
  if (!byItself) return [actions];
  const words = element("span", { className: "countdown" });
  words.dataset.place = place;
  const stay = element("button", { type: "button", className: "quiet", textContent: say("stay") });
  stay.dataset.act = "stay";
  return [actions, element("p", { className: "soft leaving" }, words, stay)];
}

// Counts down in `section` and leaves; only once for each address, so that coming back with the back button is no trap.
export function startLeaving(section, say) {
  const words = section.querySelector(".countdown");
  if (!words) return;
  const { href } = section.querySelector(".way-back");
  if (stored(() => sessionStorage.getItem(LEFT)) === href) {
    stopLeaving(section);
    return;
  }
  let left = REDIRECT_S;
  const { place } = words.dataset;
  const tell = () => {
    words.textContent = place ? counted(say, "taken_to", left, { place }) : counted(say, "taken", left);
  };
  const timer = setInterval(() => {
    left -= 1;
    if (left > 0 && words.isConnected) tell();
    else clearInterval(timer);
    if (left > 0 || !words.isConnected) return;
    stored(() => sessionStorage.setItem(LEFT, href));
    location.assign(href);
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

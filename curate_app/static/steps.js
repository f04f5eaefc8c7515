// The steps around the picks, each drawn from the server's turn. Their buttons are told apart by data-act.
import { element } from "./dom.js";
import { ending, isEarly, placeOf } from "./endings.js";
import { counted } from "./strings.js";

const ANSWER_LENGTH = 5000;

const line = (say, key, className = "soft") => element("p", { className, textContent: say(key) });

function button(say, key, act, className = "primary") {
  const made = element("button", { type: act === "send" ? "submit" : "button", className, textContent: say(key) });
  made.dataset.act = act;
  return made;
}

const actions = (...buttons) => element("div", { className: "actions" }, ...buttons);

// The study's own words: HTML that the server made of Markdown, without any raw HTML in it.
function words(html) {
  const made = element("div", { className: "words", dir: "auto", innerHTML: html ?? "" });
  for (const link of made.querySelectorAll("a")) Object.assign(link, { target: "_blank", rel: "noopener" });
  return made;
}

function form(step, ...children) {
  const made = element("form", { noValidate: true }, ...children); // the browser's bubbles would cover the choices
  made.dataset.step = step;
  return made;
}

const DRAW = {
  consent: (turn, say) => [words(turn.html), actions(button(say, "agree", "agree"), button(say, "decline", "decline", "second"))],
  declined(turn, say, panel) {
    const again = actions(button(say, "reconsider", "reconsider", "second"));
    return [line(say, "declined_more"), ...ending(turn, say, panel, turn.html && words(turn.html)), again];
  },
  preview: (turn, say) => [line(say, "preview_more"), words(turn.html)],
  uninvited(turn, say, panel) {
    const place = placeOf(say, panel);
    return [element("p", { className: "soft", textContent: place ? say("uninvited_from", { place }) : say("uninvited_more") })];
  },
  incomplete: (turn, say) => [line(say, "incomplete_more"), line(say, "incomplete_help")],
  elsewhere: (turn, say) => [line(say, "elsewhere_here"), line(say, "elsewhere_other"), line(say, "elsewhere_help")],
  full: (turn, say, panel) => [line(say, turn.over ? "over_more" : "full_more"), ...ending(turn, say, panel)],
  instructions(turn, say) {
    const practice = turn.practice > 0 ? [element("p", { className: "soft", textContent: counted(say, "practice", turn.practice) })] : [];
    return [words(turn.html), ...practice, actions(button(say, turn.practice > 0 ? "to_practice" : "begin", "instructed"))];
  },
  question: drawQuestion,
  closing(turn, say) {
    const answer = element("textarea", { id: "answer", name: "answer", rows: 5, maxLength: ANSWER_LENGTH, dir: "auto" });
    const label = element("label", { htmlFor: "answer", className: "soft", textContent: say("closing_label") });
    return [form("closing", words(turn.html), label, answer, actions(button(say, "finish", "send")))];
  },
  finished(turn, say, panel) {
    const early = isEarly(turn) ? [line(say, "ended_more")] : [];
    const thanks = turn.html ? [words(turn.html)] : early.length ? [] : [line(say, "finished_more")];
    const stored = element("p", { className: "soft", textContent: counted(say, "stored", turn.progress.yours) });
    return [...early, ...thanks, stored, ...ending(turn, say, panel)];
  },
  failed: (turn, say, panel) => [line(say, "failed_more"), ...ending(turn, say, panel, turn.html && words(turn.html))],
  withdrawn: (turn, say, panel) => [line(say, "withdrawn_more"), ...ending(turn, say, panel, turn.html && words(turn.html))],
};

// A word on the answer to the question, in the step itself: in place of the one before it, so that it is read out.
export function remark(section, text, tone) {
  const words = element("p", { className: `remark ${tone}`, role: "alert", textContent: text });
  section.querySelector(".remark")?.remove();
  section.querySelector("form").before(words);
}

function drawQuestion(turn, say) {
  const wrong = turn.tries_left < 2 ? [element("p", { className: "remark wrong", role: "alert", textContent: say("wrong") })] : [];
  const choices = turn.choices.map((choice) => {
    const radio = element("input", { type: "radio", name: "answer", value: choice, required: true });
    return element("label", { className: "option" }, radio, element("span", { dir: "auto", textContent: choice }));
  });
  const legend = element("legend", {}, words(turn.html));
  return [...wrong, form("question", element("fieldset", {}, legend, ...choices), actions(button(say, "answer", "send")))];
}

function titleOf(turn) {
  if (isEarly(turn)) return "ended_title";
  return turn.state === "full" && turn.over ? "over_title" : `${turn.state}_title`;
}

export const isStep = (state) => Object.hasOwn(DRAW, state);

// Draws a step, and gives its heading; Markdown that opens with a heading of its own brings the step's.
export function drawStep(section, turn, say, panel) {
  const parts = DRAW[turn.state](turn, say, panel);
  const title = element("h2", { id: "step-title", tabIndex: -1, textContent: say(titleOf(turn)) });
  const own = parts[0].matches(".words") && parts[0].firstElementChild;
  if (own && own.matches("h1, h2, h3")) {
    Object.assign(title, { textContent: own.textContent, dir: "auto" });
    own.remove();
  }
  section.replaceChildren(title, ...parts);
  return title;
}

// Clicks, keys and forms: listened to once, on the root, whatever is drawn inside.
import { answerOfKey } from "./judgements.js";
import { keyOf } from "./slate.js";

const FREE = 29; // in larger slates the letters U and Z pick images

// `press` has a function for every data-act; `choose(outcome, position, input)` and `submit(step, answer)` are the rest.
export function listen(root, { press, choose, submit }) {
  const help = root.querySelector("dialog.help");

  root.addEventListener("click", (event) => {
    if (event.target.matches("dialog")) event.target.close(); // its backdrop
    const button = event.target.closest("button, .choice");
    if (!button || event.detail > 1) return;
    const input = event.detail === 0 ? "key" : event.pointerType || "mouse";
    const { act, position } = button.dataset;
    if (button.matches(".choice")) choose("pick", Number(position), input);
    else if (["none", "tie"].includes(act)) choose(act, null, input);
    else if (act === "help") help.showModal();
    else {
      button.closest("dialog")?.close();
      press[act]?.();
    }
  });

  root.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(event.target.dataset.step, new FormData(event.target).get("answer"));
  });

  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.altKey || root.dataset.view === "step" || root.querySelector("dialog[open]")) return;
    const name = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (name === "z" && !event.shiftKey) press.undo(); // as everywhere else
      return;
    }
    const named = { u: "undo", z: "zoom" }[name];
    const inView = root.dataset.view === "slate";
    if (named && (inView || named === "undo") && root.querySelectorAll(".choice").length <= FREE) press[named]();
    if (!inView) return;
    const answer = answerOfKey(event.key, !root.querySelector(".tie").hidden);
    if (event.key === "?") {
      event.preventDefault();
      help.showModal();
    } else if (answer) choose(answer, null, "key");
    else if (event.target.matches("div.choice") && [" ", "Enter"].includes(event.key)) {
      event.preventDefault();
      choose("pick", Number(event.target.dataset.position), "key");
    } else {
      const choices = [...root.querySelectorAll(".choice")];
      const index = choices.findIndex((_, place) => keyOf(place) === name);
      if (index >= 0) choose("pick", Number(choices[index].dataset.position), "key");
    }
  });
}

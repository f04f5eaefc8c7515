// What a slate asks beside its best one: the worst, in a second click, or whether both of a pair are as good.

// The answer that a key stands for, other than an image; `ties` says whether both may be as good.
export function answerOfKey(key, ties) {
  if (ties) return { 0: "tie", "=": "tie", n: "none" }[key.toLowerCase()] ?? null;
  return key === "0" ? "none" : null;
}

// How a slate is answered, for those who practise it; nothing where one click is all.
export const howTo = (slate, say) => (slate.worst ? say("how_worst") : slate.tie ? say("how_tie") : "");

// The button of ties, and the key of 'none of these', which makes room for it.
export function offerTie(root, slate) {
  const ties = Boolean(slate.tie);
  root.querySelector(".tie").hidden = !ties;
  root.querySelector(".none kbd").textContent = ties ? "N" : "0";
}

// The two clicks of a best-and-worst slate. The best again takes it back.
export class BestThenWorst {
  constructor(root, say) {
    Object.assign(this, { root, say });
    this.heading = root.querySelector("#question");
    this.group = root.querySelector(".slate");
    this.none = root.querySelector(".none");
    this.spoken = root.querySelector(".spoken");
    this.best = null;
    this.question = null; // the heading's words, while it asks for the worst
  }

  // A new slate, or none: nothing is picked.
  begin() {
    this.best = null;
    this.ask();
  }

  // Takes a click; gives {position, worst} once both are there, else null.
  press(position) {
    if (this.best !== null && this.best !== position) return { position: this.best, worst: position };
    this.best = this.best === null ? position : null;
    this.show();
    return null;
  }

  show() {
    const choices = [...this.group.querySelectorAll(".choice")];
    for (const choice of choices) {
      const isBest = Number(choice.dataset.position) === this.best;
      choice.classList.toggle("best", isBest);
      choice.querySelector(".mark")?.remove();
      if (isBest) choice.append(this.mark());
      if (this.best === null) choice.removeAttribute("aria-pressed");
      else choice.setAttribute("aria-pressed", isBest);
    }
    const held = document.activeElement === this.none;
    this.none.disabled = this.best !== null; // something was liked
    if (held && this.none.disabled) this.group.focus({ preventScroll: true }); // a disabled button would lose the focus
    const n = 1 + choices.findIndex((choice) => choice.matches(".best"));
    this.spoken.textContent = this.say(n ? "best_picked" : "best_back", { n });
    this.ask();
  }

  // Keeps the heading's place as high as the higher of its two questions, so that no image moves under the second click.
  reserve(worst) {
    const { heading } = this;
    const shown = heading.textContent;
    heading.style.minHeight = "";
    if (!worst) return;
    const heights = [this.question ?? shown, this.say("now_worst")].map((words) => {
      heading.textContent = words;
      return heading.offsetHeight;
    });
    heading.textContent = shown;
    heading.style.minHeight = `${Math.max(...heights)}px`;
  }

  // The heading asks for what comes next.
  ask() {
    const worst = this.best !== null;
    if (worst) this.question ??= this.heading.textContent;
    if (worst || this.question !== null) this.heading.textContent = worst ? this.say("now_worst") : this.question;
    if (!worst) this.question = null;
    this.root.dataset.asks = worst ? "worst" : "best";
  }

  mark() {
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.setAttribute("aria-hidden", "true");
    mark.textContent = this.say("best_mark");
    return mark;
  }
}

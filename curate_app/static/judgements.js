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
    this.question = this.heading.textContent;
    this.best = null;
  }

  // A new slate, or none: nothing is picked.
  begin() {
    this.best = null;
    this.heading.textContent = this.question;
    delete this.root.dataset.asks;
  }

  // Takes a click; gives {position, worst} once both are there, else null.
  press(position) {
    if (this.best !== null && this.best !== position) return { position: this.best, worst: position };
    this.best = this.best === null ? position : null;
    this.show();
    return null;
  }

  show() {
    const asksWorst = this.best !== null;
    if (asksWorst) this.root.dataset.asks = "worst";
    else delete this.root.dataset.asks;
    this.heading.textContent = asksWorst ? this.say("now_worst") : this.question;
    this.none.disabled = asksWorst; // something was liked
    const choices = [...this.group.querySelectorAll(".choice")];
    choices.forEach((choice, index) => {
      const isBest = Number(choice.dataset.position) === this.best;
      choice.classList.toggle("best", isBest);
      choice.querySelector(".mark")?.remove();
      if (isBest) choice.append(this.mark());
      choice.setAttribute("aria-label", this.say(isBest ? "image_best" : "image", { n: index + 1 }));
      if (isBest) this.spoken.textContent = this.say("best_picked", { n: index + 1 });
    });
    if (!asksWorst) this.spoken.textContent = this.say("best_back");
  }

  mark() {
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.setAttribute("aria-hidden", "true");
    mark.textContent = this.say("best_mark");
    return mark;
  }
}

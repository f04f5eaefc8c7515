// What the page says beside what it shows: notes that everyone sees, and words for screen readers.
const NOTE_MS = 6000;

export class Voice {
  constructor(root) {
    this.root = root;
    this.box = root.querySelector(".note");
    this.heard = root.querySelector(".spoken");
  }

  note(text, stays = false) {
    this.box.textContent = text;
    this.box.classList.add("shown");
    if (this.root.dataset.view === "step") this.box.scrollIntoView({ block: "nearest" });
    clearTimeout(this.timer);
    if (!stays) this.timer = setTimeout(() => this.box.classList.remove("shown"), NOTE_MS);
  }

  hush() {
    clearTimeout(this.timer);
    this.box.classList.remove("shown");
    this.box.textContent = "";
  }

  speak(text) {
    if (text !== this.heard.textContent) this.heard.textContent = text;
  }
}

// An image of the slate at its own size or more, or the whole of a text, over everything: press and hold it, or Z. Letting go, Escape or Z again closes it.
import { keyOf } from "./slate.js";

const HOLD_MS = 350; // a shorter press is a pick
const LARGER = 1.6; // than in the slate, at the least, where the screen has room; an image's own size may be more
const SLIP = 12; // pixels that a finger may move meanwhile

export class Zoom {
  constructor(root, say) {
    Object.assign(this, { root, say, timer: null, held: false });
    this.dialog = root.querySelector("dialog.zoom");
    this.listen();
  }

  get choices() {
    return [...this.root.querySelectorAll(".slate .choice")];
  }

  // The image that has the focus, else the one under the mouse, else the first.
  get target() {
    const { choices } = this;
    return choices.find((choice) => choice.matches(":focus-visible")) ?? choices.find((choice) => choice.matches(":hover")) ?? choices[0];
  }

  open(choice) {
    if (!choice) return;
    const image = choice.querySelector("img");
    const large = image ? this.picture(choice, image) : choice.querySelector(".words").cloneNode(true);
    this.dialog.replaceChildren(large);
    this.dialog.classList.toggle("text", !image);
    const name = this.say(image ? "image" : "text", { n: 1 + this.choices.indexOf(choice) });
    this.dialog.setAttribute("aria-label", this.say("full", { image: name }));
    if (!this.dialog.open) this.dialog.showModal();
  }

  picture(choice, image) {
    const large = new Image();
    large.src = image.src;
    large.alt = choice.getAttribute("aria-label") ?? "";
    large.draggable = false;
    large.classList.toggle("small", image.classList.contains("small"));
    const enough = Math.max(1, (LARGER * image.width) / image.naturalWidth);
    const scale = Math.min(innerWidth / image.naturalWidth, innerHeight / image.naturalHeight, enough);
    Object.assign(large.style, { width: `${image.naturalWidth * scale}px`, height: `${image.naturalHeight * scale}px` });
    return large;
  }

  close() {
    clearTimeout(this.timer);
    if (this.dialog.open) this.dialog.close();
  }

  toggle() {
    if (this.dialog.open) this.close();
    else this.open(this.target);
  }

  listen() {
    let start = null;
    this.root.addEventListener("pointerdown", (event) => {
      const choice = event.target.closest(".slate .choice");
      this.held = false;
      if (!choice || event.button > 0) return;
      start = [event.clientX, event.clientY];
      this.timer = setTimeout(() => {
        this.held = true;
        this.open(choice);
      }, HOLD_MS);
    });
    addEventListener("pointermove", (event) => {
      if (start && !this.held && Math.hypot(event.clientX - start[0], event.clientY - start[1]) > SLIP) clearTimeout(this.timer);
    });
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => {
      start = null;
      this.close();
    });
    // The press that zoomed is no pick, and no menu opens over it.
    this.root.addEventListener("click", (event) => {
      if (!this.held || event.detail === 0) return;
      this.held = false;
      event.stopPropagation();
      event.preventDefault();
    }, true);
    this.root.addEventListener("contextmenu", (event) => {
      if (event.target.closest(".slate .choice, dialog.zoom") && (this.held || event.pointerType === "touch")) event.preventDefault();
    });
    this.dialog.addEventListener("click", () => this.close());
    // The keys that pick an image show it here.
    this.dialog.addEventListener("keydown", (event) => {
      const key = event.key.toLowerCase();
      const index = this.choices.findIndex((_, place) => keyOf(place) === key);
      if (key === "z") this.close();
      else if (index >= 0) this.open(this.choices[index]);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }
}

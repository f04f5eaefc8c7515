"""A scripted rater of the demo who always picks the bluest flower, through the real page in Chromium.

    python benchmarks/demo_rater.py [--rounds 4] [--pause 0.7] [--images docs/images]

Starts `curate demo` on a new study and picks by keyboard until so many generations are published. Prints, for each
generation, the mean distance of the hue to blue (in turns) and the seconds from its turn's start to its publication;
the milliseconds that picks took; what the page says the rater likes after 24 picks; and the first slate's seconds. With
--images it writes bluest.png (the way so far), before-after.webp (the page's section) and demo.webp (the
run).
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from data.store import Store

BLUE = 0.62
HUE = slice(5, 7)  # of a point: the cosine and the sine of the hue
READY = "document.querySelector('.rater')?.dataset.state === 'ready'"
PANEL_AT = 24  # picks after which the page's estimate is printed
WIDTH, HEIGHT = 1280, 860
FILM = (720, 484)


def main() -> None:
    """Runs the demo and its rater."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.7, help="seconds that the rater looks at a slate")
    parser.add_argument("--port", type=int, default=7998)
    parser.add_argument("--images", type=Path, help="the folder for the pictures; left out: none")
    parser.add_argument("--study", type=Path, help="the new study's folder; left out: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        path = args.study or Path(folder) / "demo"
        run = [sys.executable, "-m", "curate_app", "demo", str(path), "--port", str(args.port), "--no-browser"]
        began = time.monotonic()
        server = subprocess.Popen(run)
        try:
            rate(args, path, began)
        finally:
            server.terminate()
            server.wait()


def rate(args: argparse.Namespace, path: Path, began: float) -> None:
    """Picks through the page, and prints and draws what came of it."""
    url = f"http://127.0.0.1:{args.port}"
    while True:
        try:
            httpx.get(url).raise_for_status()
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    answers = time.monotonic() - began
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        opened = time.monotonic()
        took: list[float] = []
        page.on("requestfinished", lambda r: took.append(r.timing["responseEnd"]) if "/api/pick" in r.url else None)
        page.goto(url)
        page.wait_for_function(READY)
        first = time.monotonic()
        print(f"the page answers {answers:.1f} s after the command")
        print(f"the first slate: {first - began:.1f} s after it, {first - opened:.1f} s after the page was opened")
        store = Store(path / "study.db")
        film = pick(page, store, args)
        distances = report(store, took)
        if args.images:
            draw(page, args.images, film, args.rounds)
        store.close()
        browser.close()
    half = distances[-1] / distances[0]
    print(f"mean hue distance after {args.rounds} rounds: {half:.2f} of the first")


def pick(page: Page, store: Store, args: argparse.Namespace) -> list[Image.Image]:
    """Picks the bluest of each slate until the last generation is there; the film's frames."""
    film: list[Image.Image] = []
    n, panel = 0, False
    while latest(store) < args.rounds:
        page.wait_for_function(READY)
        images = page.eval_on_selector_all(".slate img", "all => all.map(image => image.src)")
        bluest = min(range(len(images)), key=lambda j: distance(store, images[j]))
        page.wait_for_timeout(1000 * args.pause)
        page.keyboard.press(str(bluest + 1))
        n += 1
        idle = store.status("worker").get("phase") == "idle"  # a screenshot takes time from a training
        filmed = args.images and idle and (n <= 3 or n % 4 == 0)
        if filmed:
            film.append(shot(page))
        page.wait_for_function(
            "before => { const image = document.querySelector('.slate:not([hidden]) img');"
            " return image && image.src !== before }",
            arg=images[0],
        )
        if filmed:
            page.wait_for_function(READY)
            film.append(shot(page))
        if n == PANEL_AT:
            page.wait_for_timeout(300)
            taste = page.evaluate("fetch('api/taste').then(answer => answer.json())")
            (blue, *_) = [one for one in taste["leanings"] if one["words"] == "blue"] or [None]
            print(f"after {taste['picks']} picks the page says: {page.text_content('.likes')} {json.dumps(blue)}")
            panel = bool(args.images)
        if panel and idle and n > PANEL_AT:
            page.locator(".taste").scroll_into_view_if_needed()
            film.append(shot(page))
            page.evaluate("scrollTo(0, 0)")
            panel = False
    page.wait_for_timeout(1500)
    return film


def latest(store: Store) -> int:
    """The number of the latest generation."""
    return (store.latest_cut() or (0, 0))[0]


def distance(store: Store, address: str) -> float:
    """The distance of an image's hue to blue, in turns."""
    (row, *_) = store.rows(
        "SELECT point_json FROM sample WHERE image_sha256 = ? LIMIT 1", [address.split("/img/")[1].split(".png")[0]]
    )
    return float(to_blue(np.array([json.loads(row["point_json"])]))[0])


def to_blue(points: np.ndarray) -> np.ndarray:
    """(n,) distances of the hue to blue, of (n, d) points, in turns."""
    cosine, sine = points[:, HUE].T
    away = np.abs(np.arctan2(sine, cosine) / (2 * math.pi) % 1 - BLUE)
    return np.minimum(away, 1 - away)


def report(store: Store, took: list[float]) -> list[float]:
    """Prints the figures of the run; the mean hue distance of each generation."""
    events = store.rows("SELECT at, kind FROM event WHERE kind IN ('turn_started', 'generation_published') ORDER BY id")
    times = [(row["kind"], datetime.fromisoformat(row["at"])) for row in events]
    starts = [at for kind, at in times if kind == "turn_started"]
    ends = [at for kind, at in times if kind == "generation_published"][-len(starts) :]
    seconds = [math.nan, *((end - start).total_seconds() for start, end in zip(starts, ends, strict=True))]
    distances = []
    print("generation  hue distance  seconds of its turn  of them training  neighbour ratio")
    for generation in store.generations():
        evaluated, measured = store.evaluation(generation.t), generation.measurements
        assert evaluated is not None and evaluated.points is not None
        distances.append(float(to_blue(evaluated.points).mean()))
        trained = measured.seconds.train if measured.seconds and measured.seconds.train else math.nan
        print(
            f"{generation.t:>10}  {distances[-1]:12.3f}  {seconds[generation.t]:19.1f}  {trained:16.1f}  "
            f"{measured.nn_ratio or math.nan:15.2f}"
        )
    p50, p95 = np.quantile(took, [0.5, 0.95])
    print(f"{len(took)} picks: p50 {p50:.0f} ms, p95 {p95:.0f} ms, longest {max(took):.0f} ms")
    return distances


def shot(page: Page) -> Image.Image:
    """The page as it is seen now, at the film's size."""
    return Image.open(BytesIO(page.screenshot())).convert("RGB").resize(FILM, Image.Resampling.LANCZOS)


def draw(page: Page, folder: Path, film: list[Image.Image], rounds: int) -> None:
    """Writes the pictures."""
    way = page.request.get(page.url.split("?")[0] + "api/way.png").body()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bluest.png").write_bytes(way)
    for section in (".taste", ".reveal"):
        page.locator(section).evaluate("section => section.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(400)
        film.append(shot(page))
    slider = page.locator(".fading input")
    most = float(slider.get_attribute("max") or 0)
    for step in range(5):
        slider.evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})) }",
            most * step / 4,
        )
        page.wait_for_timeout(100)
        film.append(shot(page))
    slider.evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})) }",
        most / 2,
    )
    page.set_viewport_size({"width": 1440, "height": 1300})
    page.locator(".strip").scroll_into_view_if_needed()
    page.wait_for_timeout(800)
    section = Image.open(BytesIO(page.locator(".reveal").screenshot())).convert("RGB")
    section.save(folder / "before-after.webp", quality=80, method=6)
    quick = len(film) - 7
    film[0].save(
        folder / "demo.webp", save_all=True, append_images=film[1:], loop=0, quality=60, method=6,
        duration=[260] * quick + [1_600, 900] + [500] * 4 + [1_800],
    )  # fmt: skip
    print(f"wrote three pictures ({len(film)} frames, {rounds} rounds) to {folder}")


if __name__ == "__main__":
    main()

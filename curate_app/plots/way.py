"""The way so far as a picture to share: a strip of all generations from the same noise, and what moved most, in words.

Drawn by Pillow from the sheets that the study stores, in the fonts that come with matplotlib. Torch-free.
"""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from curate_app.assets import TEXT
from data.records import Generation
from data.store import Store, queries
from loop.analysis.movement import Move, Movements
from loop.study import Study

WIDTH, HEIGHT = 1200, 630  # what pages that show a link's picture ask for
MARGIN, COLUMN, GAP = 48, 344, 5  # of the picture; the width of its words; between small pictures
BETWEEN = 12, 30  # generations, at least and at most
MOST_ROWS = 8  # generations in the strip
PAPER, INK, SOFT, ACCENT = "#f7f6f2", "#17191e", "#5d616b", "#2f4bd8"
SAY = TEXT["rater"]


def move_words(move: Move, say: Mapping[str, Any] = SAY) -> str:
    """A movement in a few words, such as "hue moved 0.14 toward blue" or "more petals: 6.1 to 7.3".

    Args:
        move: the movement.
        say: the texts of a language.
    """
    if move.way == "share":
        key = "moved_grew" if move.after > move.before else "moved_shrank"
        shares = {"from": f"{move.before:.0%}", "to": f"{move.after:.0%}"}
        return say[key].format(name=move.name, **shares)
    amount = f"{abs(move.after - move.before):.{move.digits}f}"
    values = {"from": f"{move.before:.{move.digits}f}", "to": f"{move.after:.{move.digits}f}"}
    name, words = (say.get("words", {}).get(some, some) for some in (move.name, move.words))
    return say[f"moved_{move.way}"].format(name=name, words=words, amount=amount, **values)


def evenly(generations: Sequence[Generation], most: int) -> list[Generation]:
    """At most so many generations, evenly spaced, with the first and the latest."""
    n = len(generations)
    if n <= most:
        return list(generations)
    return [generations[round(i * (n - 1) / (most - 1))] for i in range(most)]


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans at a size in pixels; Pillow's own where matplotlib brings none."""
    package = find_spec("matplotlib")
    folders = package.submodule_search_locations if package else None
    name = f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    path = Path(folders[0]) / "mpl-data/fonts/ttf" / name if folders else Path(name)
    return ImageFont.truetype(path, size) if path.is_file() else ImageFont.load_default(size)


def wrapped(text: str, width: int, size: int, bold: bool = False) -> list[str]:
    """A text in lines of at most `width` pixels, broken at spaces; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font(size, bold).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def strip_tiles(sheet: Image.Image, columns: int | None, side: int, n: int, rows: int) -> list[Image.Image]:
    """The first small pictures of a sheet, row by row, at `side` pixels; a scatter plot is one picture by itself.

    Args:
        sheet: the generation's.
        columns: images in a row of it; None for a plot.
        side: pixels of the longer side.
        n: pictures in a row of the strip.
        rows: of the strip.
    """
    if columns is None:
        return [fitted(sheet, side)]
    size = (sheet.width + 1) // columns  # with the pixel between two pictures
    tiles = []
    for row in range(min(rows, (sheet.height + 1) // size)):
        for column in range(min(n, columns)):
            box = column * size, row * size, (column + 1) * size - 1, (row + 1) * size - 1
            tiles.append(fitted(sheet.crop(box), side))
    return tiles


def fitted(image: Image.Image, side: int) -> Image.Image:
    """An image as large as fits into a square: smoothed where it shrinks, crisp where it is small."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)


def study_way(study: Study) -> bytes | None:
    """The picture of a study under its title, or its name where the title is the usual question."""
    config = study.config
    movements = Movements(study.store, config.data.family.factors if config.data.family else ())
    usual = type(config.app).model_fields["title"].default
    title = study.path.resolve().name if config.app.title == usual else config.app.title
    return way_picture(study.store, movements, title)


def way_picture(store: Store, movements: Movements, title: str, say: Mapping[str, str] = SAY) -> bytes | None:
    """The way of a study so far as a PNG of 1200 x 630 pixels; None before there is a sheet.

    Args:
        store: the study's.
        movements: between its generations.
        title: of the picture.
        say: the texts of a language.
    """
    generations = [some for some in store.generations() if some.measurements.grid_sha256]
    if not generations:
        return None
    first, latest = generations[0], generations[-1]
    move = movements(first, latest) if latest.t > first.t else None
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(picture)
    draw_words(draw, title, move_words(move, say) if move else "", counted_words(store, latest.t, say))
    draw_strip(picture, draw, store, evenly(generations, MOST_ROWS), say)
    buffer = io.BytesIO()
    about = PngInfo()
    about.add_text("Software", "curate")  # by which a picture of this kind is known
    picture.save(buffer, format="PNG", compress_level=6, pnginfo=about)
    return buffer.getvalue()


def counted_words(store: Store, t: int, say: Mapping[str, str]) -> list[str]:
    """The rounds and the picks behind a way: people's, else those of simulated users."""
    picks = dict.fromkeys(("human", "sim"), 0)
    for row in queries.tally(store):
        if row["kind"] in picks and row["outcome"] == "pick" and row["purpose"] in ("curation", "audit"):
            picks[row["kind"]] += row["n"]
    words = [say["way_rounds_1" if t == 1 else "way_rounds_n"].format(n=t)]
    if picks["human"]:
        words.append(say["way_picks_1" if picks["human"] == 1 else "way_picks_n"].format(n=f"{picks['human']:,}"))
    elif picks["sim"]:
        words.append(say["way_sim_1" if picks["sim"] == 1 else "way_sim_n"].format(n=f"{picks['sim']:,}"))
    return words


def draw_words(draw: ImageDraw.ImageDraw, title: str, moved: str, counted: Sequence[str]) -> None:
    """Draws the words on the left: the title, what moved, the counts, and whose picture it is."""
    y = MARGIN - 6
    for text, size, bold, colour, most, after in (
        (title, 40, True, INK, 4, 22),
        (moved, 29, True, ACCENT, 5, 22),
        (" · ".join(counted), 21, False, SOFT, 3, 0),
    ):
        lines = wrapped(text, COLUMN, size, bold)
        for i, line in enumerate(lines[:most]):
            shortened = f"{line} …" if i == most - 1 and len(lines) > most else line
            draw.text((MARGIN, y), shortened, colour, font(size, bold))
            y += round(1.28 * size)
        y += after if lines else 0
    draw.text((MARGIN, HEIGHT - MARGIN - 20), "curate", INK, font(21, True))


def draw_strip(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    store: Store,
    generations: Sequence[Generation],
    say: Mapping[str, str],
) -> None:
    """Draws the generations under each other on the right, each as its first small pictures with its number."""
    columns, n = generations[0].measurements.grid_columns, len(generations)
    left, label = MARGIN + COLUMN + 24, 40
    width, height = WIDTH - left - MARGIN - label, HEIGHT - 2 * MARGIN - 30
    across = columns or -(-n // (1 if n < 3 else 2))
    down = n if columns else -(-n // across)
    side = min(int((width - GAP * (across - 1)) / across), int((height - BETWEEN[0] * (down - 1)) / down) - GAP)
    rows = max(1, (height - BETWEEN[0] * (n - 1)) // (n * (side + GAP))) if columns else 1
    free = (height - down * (rows * (side + GAP) - GAP)) // max(1, down - 1)
    between = min(BETWEEN[1], max(BETWEEN[0], free))
    y, x = MARGIN, left + label
    for i, generation in enumerate(generations):
        png = store.image(generation.measurements.grid_sha256 or "")
        if png is None:
            continue
        tiles = strip_tiles(Image.open(io.BytesIO(png)), columns, side, across, rows)
        if not columns:
            x, y = left + label + i % across * (side + GAP), MARGIN + i // across * (side + between)
        taken = -(-len(tiles) // across) * (side + GAP) - GAP
        if columns:
            middle = y + taken // 2
            draw.text((x - 16, middle), str(generation.t), INK, font(22, True), anchor="rm")
        for j, tile in enumerate(tiles):
            picture.paste(tile, (x + j % across * (side + GAP), y + j // across * (side + GAP)))
        if not columns:
            draw.text((x + 6, y + 4), str(generation.t), INK, font(20, True))
        y += taken + between if columns else 0
    draw.text((left + label, HEIGHT - MARGIN - 12), say["way_same"], SOFT, font(17))

"""A study, which is a folder with study.toml, study.db and checkpoints/: made, opened, and checked for faults."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import tomlkit
from filelock import FileLock, Timeout

from data.datasets import OnRead, RealData, load, sample_shape
from data.errors import NotAStudyError
from data.images import damaged
from data.secret_file import FOLDER_MODE, MODE, NAME, keep_password, replace_file
from data.store import Store, queries
from loop.conditions import StudyConditions
from loop.config import StudyConfig, build, override, parse
from loop.presets import FOLDER, PRESETS

ERRORS = "sweep-error.txt"  # in a study of a sweep: the output of its process when it failed
DISTANCES = "real-distances.safetensors"  # can be computed again, but takes a while ...
JUDGED = "real-judged.safetensors"  # ... as does the classifier's judgement of the real images
# beside the database: nothing is made yet
UNBEGUN = frozenset({"study.toml", "checkpoints", "worker.lock", ERRORS, NAME, f".{NAME}.lock", DISTANCES, JUDGED})
SAMPLES = "samples"  # the folder of pictures from the training of generation 0, and the status that names the latest
OnShare = Callable[[float], object]
"""Called now and then in long work with the share done, from 0 to 1."""
MARKET = "market"  # the status of a study that trains on another's picks, too (`loop.market`)
IMPORTED = "imported"  # a log without its generators


class WorkerRunningError(ValueError):
    """Another process works on the study."""


@contextmanager
def only_worker(study_path: Path) -> Iterator[None]:
    """Holds the study's worker lock; weights that an earlier holder was killed over half-way are removed.

    Raises:
        WorkerRunningError: another process holds it.
    """
    lock = FileLock(study_path / "worker.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkerRunningError(
            f"A worker is running on {study_path} already; stop it first, or leave this study to it."
        ) from None
    try:
        for pattern in ("checkpoints/.*", ".classifier.*", ".judge.*"):
            for draft in study_path.glob(pattern):
                draft.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


class StudyExistsError(ValueError):
    """There is something at the path already."""


@dataclass(frozen=True, slots=True)
class AuditSource:
    """The origin of one generation of an audit.

    Attributes:
        study: name of the study that it comes from.
        t: its number there.
        config: that study's settings, as plain values.
    """

    study: str
    t: int
    config: dict[str, Any]

    @property
    def words(self) -> str:
        """The origin as people read it."""
        return f"{self.study}, generation {self.t}"

    def as_json(self) -> dict[str, Any]:
        """The origin as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Study:
    """An opened study.

    Attributes:
        path: its folder.
        config: study.toml, checked.
        store: its database.
    """

    path: Path
    config: StudyConfig
    store: Store = field(repr=False)

    @classmethod
    def create(cls, path: Path, config: StudyConfig) -> Self:
        """A new study; it appears whole or not at all, and is its owner's alone.

        A password among the settings is kept as a hash, in secrets.toml.

        Raises:
            StudyExistsError: the path exists.
        """
        if path.exists():
            occupant = "a study" if (path / "study.toml").exists() else "something"
            raise StudyExistsError(f"There is {occupant} at {path} already; choose another name or remove it first.")
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            (draft / "checkpoints").mkdir()
            if config.app.password:
                keep_password(draft, config.app.password)
            app = config.app.model_copy(update={"password": ""})
            replace_file(draft / "study.toml", config.model_copy(update={"app": app}).to_toml())
            store = Store.create(draft / "study.db")
            store.log("curate", "study_created", preset=config.preset, seed=config.seed)
            store.close()
            draft.rename(path)  # mkdtemp made it with mode 0700
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing study.

        Raises:
            NotAStudyError: no study there.
            ValueError: study.toml is wrong, or the database is of a newer version.
            CorruptDatabaseError: the database can't be read.
        """
        settings = path / "study.toml"
        if not settings.is_file():
            raise NotAStudyError(f"There is no study at {path}; create one with: curate new {path} --preset digits")
        config = parse(settings.read_text(encoding="utf-8"), str(settings))
        return cls(path, config, Store(path / "study.db"))

    def close_to_others(self) -> str:
        """Takes from other users of the machine what earlier versions let them read: people's ids, the password.

        Returns:
            A sentence on what was changed or could not be; empty where all was in order.
        """
        done = []
        try:
            if self.config.app.password:
                keep_password(self.path, self.config.app.password)
                settings = tomlkit.parse((self.path / "study.toml").read_text(encoding="utf-8"))
                settings["app"]["password"] = ""  # type: ignore[index]
                replace_file(self.path / "study.toml", tomlkit.dumps(settings))
                done.append("app.password is kept as a hash in secrets.toml now, and no more in study.toml")
            private = [self.path, self.path / "study.toml", *self.path.glob("study.db*")]
            if hasattr(os, "geteuid"):  # Windows has no such rights
                opened = [entry for entry in private if stat.S_IMODE(entry.stat().st_mode) & 0o077]
                for entry in opened:
                    entry.chmod(FOLDER_MODE if entry.is_dir() else MODE)
                done += ["other users of this machine can't read it any more"] * bool(opened)
        except OSError as error:
            return f"{self.path} holds people's ids, and other users of this machine may read it: {error}."
        return f"{self.path}: {', and '.join(done)}." if done else ""

    def discard_unbegun(self) -> None:
        """Removes the study if nothing was made in it yet: no classifier and no generator, not even in part."""
        names = {path.name for path in self.path.rglob("*") if not path.name.startswith("study.db")}
        if names <= UNBEGUN:
            self.store.close()
            shutil.rmtree(self.path)

    @cached_property
    def real(self) -> RealData:
        """The real data, loaded once."""
        return load(self.config.data, self.config.seed)

    @cached_property
    def conditions(self) -> StudyConditions | None:
        """The study's conditions; None where it has none, and then the real data aren't read for it."""
        if self.config.data.conditions == "none" and not self.config.conditions:
            return None
        return StudyConditions.of(self.config, self.real.label_names)

    def read_real(self, on_read: OnRead) -> RealData:
        """The real data; where they aren't loaded yet, `on_read` is called with the progress."""
        if "real" not in self.__dict__:
            self.__dict__["real"] = load(self.config.data, self.config.seed, on_read=on_read)
        return self.real

    @property
    def checkpoints(self) -> Path:
        """The folder of the generations' weights."""
        return self.path / "checkpoints"

    def weights_path(self, name: str) -> Path:
        """The weights of the study's 'classifier', which judges its images, or of the second opinion, its 'judge'."""
        return self.path / f"{name}.safetensors"

    @property
    def classifier_path(self) -> Path:
        """The weights of the VGG11 that judges this study's images."""
        return self.weights_path("classifier")

    @property
    def replay_of(self) -> str:
        """The study whose log this one replays; empty where it has picks of its own."""
        return self.store.status("replay").get("of", "")

    @property
    def is_log(self) -> bool:
        """True if it is an imported log, which has no generators."""
        return any(generation.policy == IMPORTED for generation in self.store.generations())

    @property
    def starts_from_log(self) -> bool:
        """True if its generation 1 is trained on an imported log, whose slates stand for those of generation 0."""
        return bool(self.store.status("replay").get("imported"))

    @property
    def sources(self) -> list[AuditSource]:
        """The origins of generations 0, 1, ... of an audit of several studies; empty in any other study."""
        return [AuditSource(**source) for source in self.store.status("audit").get("sources", [])]

    def config_of(self, t: int) -> StudyConfig:
        """The settings by which generation t is sampled: the study's, or in an audit those of where it comes from."""
        sources = self.sources
        return build(sources[t].config, f"generation {t}") if sources else self.config

    def check_simulates(self) -> None:
        """Refuses simulated users in an audit, whose point is that people compare.

        Raises:
            ValueError: it is one.
        """
        if self.sources:
            raise ValueError(
                f"{self.path} is an audit of several studies and trains nothing: put it before people with "
                f"`curate serve {self.path}`, or rehearse that with `curate crowd`."
            )

    def check_alone(self) -> None:
        """Refuses to go on alone with a study that is in a market.

        Raises:
            ValueError: it is in one.
        """
        if known := self.store.status(MARKET):
            other = Path(os.path.normpath(self.path / known["with"]))
            raise ValueError(
                f"{self.path} is in a market with {other}, and goes on with both: `curate market {self.path} {other} "
                f"--exchange {known['exchange']:g}`."
            )

    def check_people_pick(self) -> None:
        """Refuses a study that can't be put before people.

        Raises:
            ValueError: it replays a log or is in a market; its slates have one sample, or endlessly many; its data are
                points.
        """
        self.check_goes_on()
        self.check_alone()
        if self.config.curation.k in ("inf", 1):
            raise ValueError("People pick one of a few: set curation.k to 2 or more, or use simulate.")
        data = self.config.data
        if len(sample_shape(data)) != 3 and data.family is None and not data.is_text:
            raise ValueError(f"{data.dataset} are points, which people can't be shown; use simulate.")

    def check_goes_on(self) -> None:
        """Refuses to add picks to a replay, or to an imported log.

        Raises:
            ValueError: it is one.
        """
        if self.is_log:
            raise ValueError(
                f"{self.path} is an imported log without generators; `curate replay {self.path} --out NEW` makes a "
                "study that starts from it."
            )
        if self.replay_of and not self.starts_from_log:
            raise ValueError(f"{self.path} replays the log of {self.replay_of} and takes no picks of its own.")

    def checkpoint_path(self, t: int) -> Path:
        """The file of generation t's weights."""
        return self.checkpoints / f"generation-{t:04d}.safetensors"


def configure(preset: str, settings: Sequence[str] = (), **top: Any) -> StudyConfig:
    """A configuration from a preset, `--set a.b=v` settings, and top-level keys such as seed and generations.

    Raises:
        ValueError: an unknown preset or setting, or a value that doesn't fit.
    """
    if preset not in PRESETS:
        raise ValueError(f"There is no preset '{preset}'; choose one of {', '.join(PRESETS)}.")
    given = {key: value for key, value in top.items() if value is not None}
    return build({**override(PRESETS[preset], settings), "preset": preset, **given}, "--set")


def open_or_create(
    path: Path, preset: str | None, settings: Sequence[str], *, seed: int | None, generations: int | None
) -> Study:
    """The study at a path, made from the preset if there is none; an existing one must have the same settings.

    Raises:
        ValueError: no study and no preset, or a study with other settings (the first difference is named).
    """
    if not path.exists():
        if preset is None:
            raise NotAStudyError(f"There is no study at {path}; name a preset to make one, such as --preset digits.")
        return Study.create(path, configure(preset, settings, seed=seed, generations=generations or None))
    study = Study.open(path)
    known = study.config.model_dump()
    if preset == FOLDER and study.config.preset.startswith(FOLDER):  # whichever device it was made for
        preset = study.config.preset
    given = {"seed": seed, "preset": preset}
    requested = override(known, settings) | {key: value for key, value in given.items() if value is not None}
    wanted = build(requested, "--set").model_dump()
    if preset is not None:
        wanted = configure(preset, settings, seed=seed, generations=generations or None).model_dump()
    known["app"].pop("password")  # study.toml keeps none
    free: dict[str, Any] = {"generations": 0, "compute": {}}  # may change from one run to the next
    difference = first_difference({**known, **free}, {**wanted, **free})
    if difference:
        raise StudyExistsError(f"There is a study at {path} with other settings: {difference}. Choose another name.")
    return study


def first_difference(known: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> str | None:
    """The first setting in which two configurations (as nested values) differ, in words; None if they are equal."""
    for key, value in known.items():
        if isinstance(value, dict):
            difference = first_difference(value, wanted[key], f"{prefix}{key}.")
            if difference:
                return difference
        elif value != wanted[key]:
            return f"{prefix}{key} is {value} there, and {wanted[key]} was asked for"
    return None


def faults(study: Study, on_share: OnShare = lambda share: None) -> list[str]:
    """The faults of a study, in sentences; empty when it is sound.

    Args:
        study: to look through.
        on_share: called with the share done.
    """
    store = study.store
    sentences, n = store.faults(), store.value("SELECT count(*) FROM image")

    def counted() -> Iterator[tuple[str, bytes]]:
        for i, image in enumerate(queries.images(store)):
            yield image
            if i % 1_000 == 0:
                on_share(i / n)

    sentences += [f"image {sha256} doesn't hold what its name says" for sha256 in damaged(counted())]
    for name in ("classifier", "judge"):
        if study.weights_path(name).exists():
            sentences += weights_faults(study.weights_path(name), None, f"the {name}")
    for generation in store.generations():
        if generation.policy == IMPORTED:
            continue
        path = study.checkpoints / generation.checkpoint
        sentences += weights_faults(
            path, generation.checkpoint_sha256, f"generation {generation.t}: checkpoint {path.name}"
        )
        curated = generation.measurements.curated
        if curated and curated.total != generation.n_curated:
            sentences.append(f"generation {generation.t}: the curated counts don't add up to {generation.n_curated}")
    shared = queries.count_shared_samples(store)
    if shared:
        sentences.append(f"{shared} sample(s) stand in more than one curation slate; the slates must be disjoint")
    sentences += [
        f"pick {id_} names position {position}, which slate {slate} lacks"
        for id_, position, slate in queries.lost_picks(store)
    ]
    sentences += [f"slate {id_} holds {n} samples, not its K = {k}" for id_, k, n in queries.uneven_slates(store)]
    return sentences


def weights_faults(path: Path, sha256: str | None, name: str) -> list[str]:
    """The faults of a file of weights, in sentences: missing, damaged, or unlike its sidecar.

    Args:
        path: the file.
        sha256: that the database recorded; None where it recorded none.
        name: of the weights, for the sentence.
    """
    if not path.is_file():
        return [f"{name} is missing"]
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 is not None and actual != sha256:
        return [f"{name} is damaged (its sha256 is not the recorded one)"]
    try:
        recorded = json.loads(path.with_suffix(".json").read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        return [f"{name} has no readable sidecar {path.with_suffix('.json').name}"]
    return [] if recorded == actual else [f"{name} doesn't match its sidecar"]

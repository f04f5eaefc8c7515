"""Settings of the real data."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data.designs import Designs, load_designs

DatasetName = Literal["digits", "moons", "gaussians", "cifar10", "folder", "flowers", "fashion", "text"]
TokenizerName = Literal["char", "bpe"]


class DataConfig(BaseModel):
    """The [data] table of study.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: DatasetName = "digits"
    n: int = Field(
        default=0,
        ge=0,
        description="real data to use; 0 means all there are (5,000 for moons, gaussians, flowers)",
    )
    noise: float = Field(default=0.1, ge=0, description="moons: standard deviation about the arcs")
    modes: int = Field(default=8, ge=1, description="gaussians: how many, on a ring")
    radius: float = Field(default=4.0, gt=0, description="gaussians: of the ring")
    std: float = Field(default=0.3, gt=0, description="gaussians: standard deviation of each mode")
    path: str = Field(
        default="",
        description="cifar10: a local copy as class folders; folder: the folder of images; fashion: the folder of "
        "its idx files; text: a file in UTF-8, or tiny-shakespeare or tinystories, downloaded once; empty: help texts "
        "of Python's own",
    )
    clusters: int = Field(
        default=8,
        ge=2,
        le=100,
        description="folder: clusters of look-alikes that stand for classes where the folder has no class folders",
    )
    designs: str = Field(
        default="flowers", description="flowers: or other designs with named numbers, your own class as 'module:Class'"
    )
    picture_size: int = Field(
        default=384, ge=16, le=2_048, description="flowers: sides of the pictures that raters see, in pixels"
    )
    conditions: Literal["none", "classes"] = Field(
        default="none", description="classes: each slate is of one class, all equally often; or name [[conditions]]"
    )
    size: int = Field(
        default=32,
        ge=8,
        le=1_024,
        description="cifar10 and folder: images are cut and scaled to size x size; CIFAR-10 has 32",
    )

    length: int = Field(default=64, ge=2, le=8_192, description="text: tokens of an item")
    tokenizer: TokenizerName = Field(
        default="char",
        description="text: char (a token is a character), or bpe (byte pairs; pip install 'curate[text]')",
    )
    vocabulary: int = Field(default=512, ge=256, description="text: byte pairs at the most")
    characters: int = Field(default=0, ge=0, description="text: only so many from its beginning; 0: all")

    @property
    def is_text(self) -> bool:
        """True if the data are texts."""
        return self.dataset == "text"

    @property
    def family(self) -> Designs | None:
        """The designs that the generator's points stand for; None where the data are images, or points as they are.

        Raises:
            ValueError: `designs` names no usable class.
        """
        return load_designs(self.designs) if self.dataset == "flowers" else None

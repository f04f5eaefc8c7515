"""Settings of the real data."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DatasetName = Literal["digits", "moons", "gaussians", "cifar10", "folder"]


class DataConfig(BaseModel):
    """The [data] table of study.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: DatasetName = "digits"
    n: int = Field(
        default=0, ge=0, description="real data to use; 0 means all there are (5,000 points for moons and gaussians)"
    )
    noise: float = Field(default=0.1, ge=0, description="moons: standard deviation about the arcs")
    modes: int = Field(default=8, ge=1, description="gaussians: how many, on a ring")
    radius: float = Field(default=4.0, gt=0, description="gaussians: of the ring")
    std: float = Field(default=0.3, gt=0, description="gaussians: standard deviation of each mode")
    path: str = Field(default="", description="cifar10: a local copy as class folders; folder: the folder of images")
    clusters: int = Field(
        default=8,
        ge=2,
        le=100,
        description="folder: clusters of look-alikes that stand for classes where the folder has no class folders",
    )
    size: int = Field(
        default=32,
        ge=8,
        le=512,
        description="cifar10 and folder: images are cut and scaled to size x size; CIFAR-10 has 32",
    )

"""The form of each answer, for the OpenAPI document."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    """Base class: nothing is left out, and nothing added."""

    model_config = ConfigDict(extra="forbid")


class Failed(_Answer):
    """A picture without a result."""

    index: int = Field(ge=0, description="Place of the picture in the request, from 0.")
    name: str = Field(description="The name that it was sent with.")
    error: str = Field(description="Why there is no result.")


class Refusal(_Answer):
    """Why a request was rejected; the reasons for each picture if none can be used."""

    error: str
    results: list[Failed] | None = None


class Predicted(_Answer):
    """The classes of a picture."""

    index: int
    name: str
    classes: list[str] = Field(
        description="The most probable class; with several labels, all above their thresholds."
    )
    probability: float
    probabilities: dict[str, float]


class Predictions(_Answer):
    """A result or an error for each picture."""

    results: list[Predicted | Failed]


class Neighbor(_Answer):
    """An image of the store."""

    id: str
    path: str = Field(description="Relative to the folder of the images.")
    similarity: float = Field(description="Cosine similarity.")


class Neighbors(_Answer):
    """The nearest images of a picture."""

    index: int
    name: str
    id: str | None = Field(description="The image of the store with the same bytes, if any.")
    neighbors: list[Neighbor]


class Similar(_Answer):
    """A result or an error for each picture."""

    results: list[Neighbors | Failed]


class NeighborsOfImage(_Answer):
    """The nearest images of an image of the store."""

    id: str
    path: str
    neighbors: list[Neighbor]


class Group(_Answer):
    """A group, and the distance to its centre."""

    cluster: int
    cluster_name: str | None
    distance: float


class Grouped(_Answer):
    """The group of a picture."""

    index: int
    name: str
    cluster: int
    cluster_name: str | None
    distance: float = Field(description="Distance to the centre of the group.")
    margin: float = Field(
        description="By how much the next centre is farther: 0 is as near, 1 is much farther."
    )
    agreement: float | None = Field(
        description="Share of the ten nearest images that are in this group."
    )
    next: Group | None = Field(description="The group with the next centre.")


class Grouping(_Answer):
    """A result or an error for each picture."""

    results: list[Grouped | Failed]


class Explained(BaseModel):
    """Why a picture is, or is not, similar to an image of the store.

    Further fields are those of `clusterkit explain --json`, computed of vectors of length 1.
    """

    model_config = ConfigDict(extra="allow")
    index: int
    name: str
    id: str = Field(description="The image that it is compared with.")
    path: str
    similarity: float
    summary: str


class Explanations(_Answer):
    """A result or an error for each picture."""

    results: list[Explained | Failed]


class DescribedLimits(_Answer):
    """Limits of a request, as in the protocol of lightly-studio-serve."""

    max_batch_size: int
    max_request_bytes: int


class DescribedGroup(_Answer):
    """A group of the table."""

    cluster: int
    cluster_name: str | None
    images: int


class Description(_Answer):
    """What is served.  The first six fields are those of lightly-studio-serve."""

    protocol_version: str
    space_key: str | None
    dimension: int | None
    ready: bool
    capabilities: list[str]
    limits: DescribedLimits
    clusterkit: str
    images: int
    neighbors: Literal["exact", "approximate"] | None = Field(
        description="How neighbours are found: by comparing all images, or with an index."
    )
    task: str | None
    classes: list[str] | None
    groups: list[DescribedGroup] | None


class Vectors(_Answer):
    """The vectors of the pictures that can be read."""

    space_key: str
    dimension: int
    kept_indices: list[int]
    embeddings: list[list[float]]


class Health(_Answer):
    """Whether the server lives, or is ready."""

    live: bool | None = None
    ready: bool | None = None

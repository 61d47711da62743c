"""What `bundle.json` may hold, said to pydantic: the reference that cache_store/bundle_json.py is compared with."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cache_store.json_fields import Count, Digest, RankName, Text

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class IdentityModel(Model):
    engine: Text
    flashinfer_version: Text
    arch: Text
    key: Text
    key_text: Text
    key_inputs: dict[str, str | int | bool | None]
    environment: Text
    metadata: dict[str, str]
    extra: dict[str, str] = {}


class ProvenanceModel(Model):
    created_at: Text | None = None
    created_by_clock: Literal["server", "pod"] = "server"
    holder: Text = ""
    tuner: Text = ""
    tune_s: Annotated[Finite, Field(ge=0, le=366 * 86400.0)] = 0.0
    verified: Text = ""
    engine_version: Text = ""
    image: Text | None = None
    driver: Text | None = None
    program: Text = ""
    restored_by: Text | None = None
    restored_at: Text | None = None
    restored_why: Text | None = None


class CoverageModel(Model):
    ops: dict[str, Count] = {}
    entries: Count = 0
    max_bucket: Count = 0
    excluded: dict[str, str] = {}
    buckets: dict[str, dict[str, tuple[Count, ...]]] = {}
    rows_left_out: Count = 0
    expected: Count | None = None
    missing: Count | None = None
    first_missing: tuple[Text, ...] = ()
    undecided: dict[str, str] = {}


class BundleModel(Model):
    schema_name: Literal["autotune-cache/bundle/v1"] = Field(alias="schema")
    identity: IdentityModel
    ranks: dict[RankName, Digest]
    files: dict[Digest, str]
    blobs: dict[Digest, Count] = {}
    epoch: Count
    nonce: Text
    provenance: ProvenanceModel
    coverage: CoverageModel
    signature: Text | None = None


class TombstoneModel(Model):
    schema_name: Literal["autotune-cache/tombstone/v1"] = Field(alias="schema")
    reason: Text
    retired_by: Text
    retired_at: Text | None = None
    may_retune: bool = True
    epoch: Count
    nonce: Text
    identity: IdentityModel | None = None
    retired_copy: Text | None = None
    ranks: dict[RankName, Digest] = {}
    expected_tune_s: Finite | None = None

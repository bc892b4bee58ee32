"""Plans of the double: what an engine is once it is bytes, and who takes it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

MAGIC = b"TRTPLAN1"


def written(head: dict[str, Any], model: bytes) -> bytes:
    """Return a plan."""
    told = json.dumps(head).encode()
    body = len(told).to_bytes(4, "little") + told + model
    return MAGIC + hashlib.blake2b(body, digest_size=16).digest() + body


def read(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return what a plan says of itself, and its model. Raises ``ValueError``."""
    start = len(MAGIC) + 16
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("Serialization assertion magicTagRead == kPLAN_MAGIC failed")
    body = data[start:]
    if hashlib.blake2b(body, digest_size=16).digest() != data[len(MAGIC) : start]:
        raise ValueError("the plan is damaged")
    size = int.from_bytes(body[:4], "little")
    return json.loads(body[4 : 4 + size]), body[4 + size :]


def refusal(head: dict[str, Any], version: str, sm: int, host_code: bool) -> str:
    """Say why a plan is not taken by a version on a GPU, or return ``""``."""
    flags = set(head["flags"])
    if "VERSION_COMPATIBLE" in flags and not host_code:
        return "engine_host_code_allowed must be set for version compatible plans"
    if head["version"] != version:
        same = head["version"].partition(".")[0] == version.partition(".")[0]
        if "VERSION_COMPATIBLE" not in flags or not same:
            return f"the plan is of version {head['version']}, this is {version}"
    if head["sm"] != sm and (head["level"] != "AMPERE_PLUS" or sm < 80):
        return f"the plan is for compute capability {head['sm']}, this is {sm}"
    return ""

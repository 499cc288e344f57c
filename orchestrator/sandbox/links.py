"""Links to results: how they are written and signed, and whether one may still be followed (zai-api.md section 4.7).
Pictures and covers carry Expires in Unix seconds, vidu videos X-Amz-Date with X-Amz-Expires, CogVideoX videos nothing.
Signatures depend on the seed, not on the port: links outlive a restart.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from urllib.parse import parse_qsl, urlencode

from orchestrator.sandbox.catalog import MODELS, VideoModel
from orchestrator.sandbox.store import Task
from orchestrator.sandbox.wire import Call
from orchestrator.sandbox.world import World

FILES = "/_files"
AMZ_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(FILES + r"/(image|cover|video)/([0-9a-f-]{36})(?:_watermark|_cover_0|_0)\.(?:png|jpeg|mp4)")


@dataclass(frozen=True)
class Target:
    """What a link points to."""

    task: Task
    role: str


@dataclass(frozen=True)
class Links:
    """Writes links under the address by which the caller has reached the sandbox."""

    world: World
    base: str

    @classmethod
    def of(cls, call: Call, world: World) -> Self:
        host = call.request.headers.get("host", "")
        if not re.fullmatch(r"[\w.\-]+(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?", host):
            address, port = call.transport.get_extra_info("sockname")[:2]
            host = f"{address}:{port}"
        return cls(world, f"http://{host}")

    def image(self, task: Task, *, at: float) -> str:
        return self._expires(file_path(task, "image"), "image", at)

    def cover(self, task: Task, *, at: float) -> str:
        return self._expires(file_path(task, "cover"), "cover", at)

    def video(self, task: Task, *, at: float) -> str:
        path = file_path(task, "video")
        if _family(task) == "cogvideo":
            return self.base + path
        return self._amz(path, at)

    def _expires(self, path: str, life: str, at: float) -> str:
        expires = str(int(at + (self.world.settings.behaviour.link_life_seconds[life] or 0)))
        query = {"UCloudPublicKey": "TOKEN_sandbox", "Signature": _sign(self.world, path, expires), "Expires": expires}
        return f"{self.base}{path}?{urlencode(query)}"

    def _amz(self, path: str, at: float) -> str:
        date = datetime.fromtimestamp(at, UTC).strftime(AMZ_TIME)
        life = str(int(self.world.settings.behaviour.link_life_seconds["vidu"] or 0))
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"sandbox/{date[:8]}/us-east-1/s3/aws4_request",
            "X-Amz-Date": date,
            "X-Amz-Expires": life,
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": _sign(self.world, path, date, life),
        }
        return f"{self.base}{path}?{urlencode(query)}"


def file_path(task: Task, role: str) -> str:
    """The path of a task's file; a cover is a jpeg or a png, by chance."""
    if role == "image":
        return f"{FILES}/image/{task.file_key}{'_watermark' if task.picture.has_watermark else '_0'}.png"
    if role == "cover":
        return f"{FILES}/cover/{task.file_key}_cover_0.{'png' if int(task.file_key[0], 16) % 2 else 'jpeg'}"
    return f"{FILES}/video/{task.file_key}_0.mp4"


def follow(world: World, path: str, query: str, *, now: float) -> Target | None:
    """What the path names, when that exists and is finished; None otherwise. Says nothing about expiry."""
    found = _NAME.fullmatch(path)
    task = world.store.find_by_file(found[2]) if found else None
    if found is None or task is None or task.status(now) != "SUCCESS" or file_path(task, found[1]) != path:
        return None
    return Target(task, found[1])


def is_alive(world: World, target: Target, path: str, query: str, *, now: float) -> bool:
    """Whether the link is signed by this sandbox and has not expired."""
    given = dict(parse_qsl(query))
    if target.role != "video":
        return _lives_until(given, now) and _is_signed(world, given.get("Signature"), path, given.get("Expires"))
    if _family(target.task) == "cogvideo":
        life = world.settings.behaviour.link_life_seconds["cogvideo"]
        return life is None or now < target.task.finish_at + life
    date, life_text = given.get("X-Amz-Date"), given.get("X-Amz-Expires")
    return _amz_lives(date, life_text, now) and _is_signed(world, given.get("X-Amz-Signature"), path, date, life_text)


def _lives_until(given: Mapping[str, str], now: float) -> bool:
    expires = given.get("Expires", "")
    return expires.isdecimal() and now < int(expires)


def _amz_lives(date: str | None, life: str | None, now: float) -> bool:
    try:
        signed_at = datetime.strptime(date or "", AMZ_TIME).replace(tzinfo=UTC)
        return now < signed_at.timestamp() + int(life or "")
    except ValueError:
        return False


def _is_signed(world: World, signature: str | None, *parts: str | None) -> bool:
    return hmac.compare_digest((signature or "").encode(), _sign(world, *(part or "" for part in parts)).encode())


def _sign(world: World, *parts: str) -> str:
    return hmac.new(world.secret(), "\n".join(parts).encode(), hashlib.sha256).hexdigest()


def _family(task: Task) -> str:
    model = MODELS[task.model]
    return model.family if isinstance(model, VideoModel) else ""

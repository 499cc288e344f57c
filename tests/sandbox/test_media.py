"""What links give is real: pictures of exactly the size asked for, films that play for exactly their length."""

import base64
import io
from typing import Any

import av
import pytest
from PIL import Image

from orchestrator.sandbox.films import Film, make_film
from tests.sandbox.conftest import Caller

GLM_IMAGE = {"model": "glm-image", "path": "/async/images/generations"}


@pytest.mark.parametrize("size", ["512x512", "1440x720", "768x1344"])
def test_pictures_have_the_size_asked_for(api: Caller, size: str) -> None:
    answer = api.client.get(api.image(size=size, prompt="a red kite \u98ce\u7b5d").json()["data"][0]["url"])
    with Image.open(io.BytesIO(answer.content)) as picture:
        picture.load()
        assert (picture.format, "{}x{}".format(*picture.size)) == ("PNG", size)
    assert answer.headers["content-type"] == "image/png"


def test_an_asynchronous_picture_has_the_default_size(api: Caller) -> None:
    api.put("options", {"result_variant": "documented"})
    answer = api.client.get(api.finished(**GLM_IMAGE)["image_result"][0]["url"])
    assert Image.open(io.BytesIO(answer.content)).size == (1280, 1280)


@pytest.mark.parametrize(
    ("fields", "size", "seconds", "fps"),
    [
        ({"model": "cogvideox-3"}, (1920, 1080), 5, 30),
        ({"model": "cogvideox-2", "duration": 10, "fps": 60}, (720, 480), 10, 60),
        ({"model": "cogvideox-2", "with_audio": True}, (720, 480), 5, 30),
        ({"model": "vidu2-reference", "aspect_ratio": "9:16", "image_url": ["http://a.b/c"]}, (720, 1280), 4, 24),
        ({"model": "vidu2-start-end", "size": "480x360", "image_url": ["http://a.b/c"]}, (480, 360), 4, 24),
    ],
)
def test_films_play(api: Caller, fields: dict[str, Any], size: tuple[int, int], seconds: int, fps: int) -> None:
    """H.264 of the exact size, rate and length, index first; sound only on request; a cover of the same size."""
    result = api.finished(**fields)["video_result"][0]
    film, cover = (api.client.get(result[name]) for name in ("url", "cover_image_url"))
    assert film.headers["content-type"] == "video/mp4"
    assert film.content.index(b"moov") < film.content.index(b"mdat")
    with av.open(io.BytesIO(film.content), "r") as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", *size)
        assert video.average_rate == fps
        assert container.duration == seconds * 1_000_000
        assert len(container.streams.audio) == (1 if fields.get("with_audio") else 0)
        assert len(list(container.decode(video=0))) == seconds * fps
    with Image.open(io.BytesIO(cover.content)) as picture:
        picture.load()
        assert picture.size == size
        assert cover.headers["content-type"] == f"image/{str(picture.format).lower()}"


def test_sound_can_be_decoded(api: Caller) -> None:
    link = api.finished(model="cogvideox-2", with_audio=True)["video_result"][0]["url"]
    with av.open(io.BytesIO(api.client.get(link).content), "r") as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        assert container.streams.audio[0].codec_context.name == "aac"
        assert 4.8 < samples / 48_000 < 5.0


def test_the_largest_film_is_small_in_bytes() -> None:
    """Ten seconds of 3840x2160 at 60 frames a second."""
    film = make_film(Film(3840, 2160, 10, 60, has_audio=False, look=0, comment="x"))
    assert len(film) < 4_000_000
    with av.open(io.BytesIO(film), "r") as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.frames, container.duration) == (3840, 2160, 600, 10_000_000)


def test_the_size_of_a_video_follows_its_source(api: Caller) -> None:
    """Section 3.2: without a size the short side is 1080."""
    out = io.BytesIO()
    Image.new("RGB", (300, 400)).save(out, "PNG")
    link = api.finished(image_url=base64.b64encode(out.getvalue()).decode())["video_result"][0]["cover_image_url"]
    assert Image.open(io.BytesIO(api.client.get(link).content)).size == (1080, 1440)

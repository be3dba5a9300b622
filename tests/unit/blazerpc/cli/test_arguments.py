"""Arguments of a call: texts, files, images, the standard input, and what is wrong with them."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from blazerpc import BlazeApp, TensorInput
from blazerpc.cli.arguments import parse_arguments
from blazerpc.codegen.schema import build_schema
from blazerpc_client.specs import models_of
from blazerpc_client.wire.errors import WireError

app = BlazeApp()


@app.model("take")
def take(
    text: str = "",
    raw: bytes = b"",
    numbers: list[int] = [],  # noqa: B006 - nobody changes it
    note: str | None = None,
    flag: bool = False,
    x: TensorInput[npt.NDArray[np.float32], "n", 2] | None = None,
    brain: TensorInput[ml_dtypes.bfloat16, "n"] | None = None,
    photo: TensorInput[np.uint8, "height", "width", 3] | None = None,
    photos: TensorInput[np.float32, "batch", "height", "width", 3] | None = None,
    any_photo: TensorInput[np.uint8, "batch", "height", "width", "channels"] | None = None,
    grey: TensorInput[np.uint8, "height", "width"] | None = None,
    greys: TensorInput[np.uint8, "batch", "height", "width"] | None = None,
    grey_plane: TensorInput[np.uint8, "height", "width", 1] | None = None,
    deep: TensorInput[np.uint16, "height", "width"] | None = None,
    small: TensorInput[np.int8, "height", "width"] | None = None,
    flat: TensorInput[np.uint8, "n"] | None = None,
) -> str:
    return text


@app.model("need", version="2")
def need(text: str, top_k: int = 3) -> str:
    return text


SCHEMA = build_schema(app.registry)
MODELS = models_of(SCHEMA)


def parsed(*texts: str, model: str = "take:1", stdin: bytes = b"") -> dict[str, Any]:
    spec = MODELS[model]
    return parse_arguments(texts, SCHEMA.method(spec.full_name), spec, lambda: stdin)


def refused(*texts: str, model: str = "take:1", stdin: bytes = b"") -> str:
    with pytest.raises(WireError) as caught:
        parsed(*texts, model=model, stdin=stdin)
    return str(caught.value)


def npy(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_text_is_taken_as_it_is() -> None:
    assert parsed("text=a=b", "note= null") == {"text": "a=b", "note": " null"}
    assert parsed('text="quoted"', "note=null") == {"text": '"quoted"', "note": None}


def test_json_says_what_a_text_cannot() -> None:
    assert parsed('text:="@x"', 'note:="null"', "numbers:=[1]") == {
        "text": "@x",
        "note": "null",
        "numbers": [1],
    }


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "n.json").write_text("[1,\n2]")
    (tmp_path / "t.json").write_text('"é"\n')
    (tmp_path / "b.png").write_bytes(b"\0\xff")
    values = parsed(f"numbers=@{tmp_path}/n.json", f"raw=@{tmp_path}/b.png")
    assert values == {"numbers": [1, 2], "raw": b"\0\xff"}
    # Of a string the content is the text as it is, unless it is asked for as JSON.
    assert parsed(f"text=@{tmp_path}/t.json", f"note:=@{tmp_path}/t.json") == {
        "text": '"é"\n',
        "note": "é",
    }


def test_the_standard_input_is_read() -> None:
    assert parsed("text=-", stdin=b"a\n") == {"text": "a\n"}
    assert parsed("raw=-", stdin=b"\xff") == {"raw": b"\xff"}
    assert parsed("numbers=-", stdin=b"[1]") == {"numbers": [1]}
    assert parsed("text:=-", stdin=b'"a"') == {"text": "a"}
    x = np.ones((1, 2), np.float32)
    for stdin in (npy(x), b"[[1, 1]]"):
        np.testing.assert_array_equal(parsed("x=-", stdin=stdin)["x"], x)


def test_an_array_of_a_file_is_what_it_is(tmp_path: Path) -> None:
    # Whether it is the one that is declared, the client says.
    for array in (np.ones((1, 2), np.float32), np.ones(3)):
        np.save(tmp_path / "x.npy", array)
        read = parsed(f"x=@{tmp_path}/x.npy")["x"]
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
    np.save(tmp_path / "b.npy", np.ones(3, ml_dtypes.bfloat16))
    assert parsed(f"brain=@{tmp_path}/b.npy")["brain"].dtype == ml_dtypes.bfloat16


COLOURS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(COLOURS).save(tmp_path / "x.png")
    return tmp_path / "x.png"


def test_an_image_has_the_declared_layout_and_dtype(picture: Path) -> None:
    np.testing.assert_array_equal(parsed(f"photo=@{picture}")["photo"], COLOURS)
    photos = parsed(f"photos=@{picture}")["photos"]
    assert photos.dtype == np.float32
    np.testing.assert_array_equal(photos, COLOURS[np.newaxis].astype(np.float32))
    np.testing.assert_array_equal(parsed(f"any_photo=@{picture}")["any_photo"], COLOURS[None])
    grey = parsed(f"grey=@{picture}")["grey"]
    assert (grey.shape, grey.dtype) == ((2, 4), np.uint8)
    np.testing.assert_array_equal(parsed(f"greys=@{picture}")["greys"], grey[None])
    np.testing.assert_array_equal(parsed(f"grey_plane=@{picture}")["grey_plane"], grey[..., None])
    # A dtype that has not all the values is not forced on them: the client refuses these.
    assert parsed(f"small=@{picture}")["small"].dtype == np.uint8


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 4), ("P", 3), ("RGBA", 4), ("CMYK", 3)]
)
def test_any_kind_of_image_is_read(tmp_path: Path, mode: str, channels: int) -> None:
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / "x.tiff")
    assert parsed(f"photo=@{tmp_path}/x.tiff")["photo"].shape == (2, 4, 3)
    assert parsed(f"any_photo=@{tmp_path}/x.tiff")["any_photo"].shape == (1, 2, 4, channels)


def test_a_deep_image_is_not_cut(tmp_path: Path) -> None:
    depth = np.array([[0, 65535]], np.uint16)
    Image.fromarray(depth).save(tmp_path / "x.png")
    read = parsed(f"deep=@{tmp_path}/x.png")["deep"]
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, depth)


def test_without_pillow_it_is_named(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)  # what Python does for a module not to be had
    message = refused(f"photo=@{picture}")
    assert message.startswith(f"photo: reading {picture} as an image takes Pillow: pip install")
    assert "blazerpc[image]" in message


TAKES = "need:2 takes text: str, top_k: int = 3"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["text"], f"'text' is no argument; write key=value; {TAKES}"),
        (["txt=a"], f"no argument 'txt'; {TAKES}"),
        (["=a"], f"no argument ''; {TAKES}"),
        ([], f"text: missing; {TAKES}"),
        (["top_k=1"], f"text: missing; {TAKES}"),
        (["text=a", "text=b"], "text: given twice"),
        (["text=a", "top_k=three"], "top_k: not JSON at column 1: Expecting value; it takes int"),
        (["text=-", "top_k=-"], "top_k: the standard input is that of another argument already"),
        (["text=@/no/file"], "text: cannot read '/no/file': No such file or directory"),
        (["text=@\0"], "text: cannot read '\\x00': embedded null byte"),
        (["text:=a"], "text: not JSON at column 1: Expecting value; it takes str"),
    ],
)
def test_what_is_wrong_is_said_with_its_mend(texts: list[str], message: str) -> None:
    assert refused(*texts, model="need:2") == message


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1,\n}")
    at = f"{tmp_path}/x.json is not JSON at line 2, column 1: Expecting value"
    assert refused(f"numbers=@{tmp_path}/x.json") == f"numbers: {at}; it takes list[int]"
    (tmp_path / "x.bin").write_bytes(b"\xff")
    assert "is not UTF-8 text" in refused(f"text=@{tmp_path}/x.bin")
    assert "is not JSON: not UTF-8 text" in refused(f"numbers=@{tmp_path}/x.bin")
    assert "and no image that Pillow reads" in refused(f"photo=@{tmp_path}/x.bin")
    (tmp_path / "x.npy").write_bytes(npy(np.ones(3))[:-1])
    assert f"{tmp_path}/x.npy holds no array: " in refused(f"x=@{tmp_path}/x.npy")
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    assert "holds no array: Object arrays cannot be loaded" in refused(f"x=@{tmp_path}/o.npy")
    Image.fromarray(COLOURS).save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(data[: len(data) // 2])
    assert "and no image that Pillow reads" in refused(f"photo=@{tmp_path}/x.png")
    assert refused("x=-", stdin=b"\x93NUMPY").startswith("x: the standard input holds no array: ")
    assert refused("flag=True") == ("flag: not JSON at column 1: Expecting value; it takes bool")

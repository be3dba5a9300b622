"""What a model needs, and which engine runs it, as options."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp, ConfigurationError, RayEngine, Resources, ServeOptions
from blazerpc.codegen.schema import build_schema, service_file
from blazerpc_client import UnaryMethod, Unavailable
from blazerpc_client.codegen import generate
from blazerpc_client.specs import service_spec
from tests.integration.conftest import blaze
from tests.unit.blazerpc.support import PATIENCE, client_of, serving

GPUS = "it must be a whole number, or a fraction below 1 and at least 0.0001"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": -1}, "cpus is -1; it must be 0, or at least 0.0001"),
        ({"cpus": math.nan}, "cpus is nan; it must be 0, or at least 0.0001"),
        ({"cpus": 1e-5}, "cpus is 1e-05; it must be 0, or at least 0.0001"),
        ({"cpus": "2"}, "cpus is '2'; it must be of type int or float"),
        ({"gpus": 1.5}, f"gpus is 1.5; {GPUS}"),
        ({"gpus": math.inf}, f"gpus is inf; {GPUS}"),
        ({"gpus": 1e-5}, f"gpus is 1e-05; {GPUS}"),
        ({"replicas": 0}, "replicas is 0; it must be 1 to 10000, least first"),
        ({"replicas": (3, 2)}, "replicas is (3, 2); it must be 1 to 10000, least first"),
        ({"replicas": (1, 2, 3)}, "replicas is (1, 2, 3); it must be (least, most)"),
        ({"replicas": (1, 2.5)}, "replicas is 2.5; it must be of type int"),
        ({"max_ongoing": 0}, "max_ongoing is 0; it must be at least 1"),
    ],
)
def test_what_no_model_can_need_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Resources(**options)
    assert str(caught.value) == message


def test_what_a_model_needs_is_a_resources() -> None:
    needs: Any = {"cpus": 1}
    with pytest.raises(ConfigurationError, match=r"resources: .* is no Resources"):
        BlazeApp().model("x", resources=needs)


def test_replicas_have_a_least_and_a_most() -> None:
    assert Resources().bounds == (1, 1)
    assert Resources(replicas=3).bounds == (3, 3)
    assert Resources(replicas=(1, 4), gpus=0.5).bounds == (1, 4)


@pytest.mark.parametrize(
    "address", ["", "here", ":6379", "ray://here:10001", "here:0", "here:65536", "here:port"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="it must be HOST:PORT of a Ray"):
        RayEngine(address=address)


@pytest.mark.parametrize(
    "options",
    [{"release": ""}, {"release": "a b"}, {"start_timeout": 0}, {"upscale_delay": math.nan}],
)
def test_options_of_ray_out_of_their_bounds_are_refused_by_name(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=f"^{name} is "):
        RayEngine(**options)


def test_workers_need_the_address_of_a_ray() -> None:
    assert ServeOptions(workers=2, engine=RayEngine(address="here:6379")).workers == 2
    with pytest.raises(ConfigurationError, match="--ray-address HOST:PORT"):
        ServeOptions(workers=2, engine=RayEngine())


def test_a_bound_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="leave one out"):
        BlazeApp().model("model", max_concurrency=2, resources=Resources(max_ongoing=2))


async def test_max_ongoing_bounds_the_calls_of_a_model_in_this_process() -> None:
    app = BlazeApp(max_concurrency=100)
    running, most = 0, 0

    @app.model("counted", resources=Resources(max_ongoing=3))
    async def counted(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return x

    async with asyncio.timeout(PATIENCE), serving(app) as run, client_of(app, run) as client:
        calls = [client.predict("counted", x=x) for x in range(20)]
        assert await asyncio.gather(*calls) == list(range(20))
    assert most == 3


def test_the_schema_says_which_models_are_idempotent() -> None:
    app = BlazeApp()

    @app.model("pure", idempotent=True)
    def pure(x: int) -> int:
        return x

    @app.model("other")
    def other(x: int) -> int:
        return x

    schema = build_schema(app.registry)
    names = [f"blazerpc.InferenceService.Predict{name}" for name in ("Pure", "Other")]
    pure_method, other_method = [UnaryMethod[int](schema, name) for name in names]
    assert (pure_method.idempotent, other_method.idempotent) == (True, False)
    package = generate(schema, [service_spec(schema, "blazerpc.InferenceService")])
    text = b"".join(package.values()).decode(errors="replace")
    assert text.count("Idempotent: made again when it fails with ``Unavailable``.") == 1
    levels = [m.options.idempotency_level for m in service_file(app.registry).service[0].method]
    assert levels == [MethodOptions.IDEMPOTENT, MethodOptions.IDEMPOTENCY_UNKNOWN]


async def test_a_model_that_is_idempotent_is_called_again_when_it_was_unavailable() -> None:
    app = BlazeApp()
    failures = {"pure": 2, "other": 2}

    def fail(name: str, x: int) -> int:
        failures[name] -= 1
        if failures[name] >= 0:
            raise GRPCError(Status.UNAVAILABLE, "not now")
        return x

    @app.model("pure", idempotent=True)
    def pure(x: int) -> int:
        return fail("pure", x)

    @app.model("other")
    def other(x: int) -> int:
        return fail("other", x)

    async with asyncio.timeout(PATIENCE), serving(app) as run, client_of(app, run) as client:
        assert await client.predict("pure", x=7) == 7
        with pytest.raises(Unavailable, match="not now"):
            await client.predict("other", x=7)
    assert failures == {"pure": -1, "other": 1}


APP = """
from blazerpc import BlazeApp

app = BlazeApp()


@app.model("same")
def same(x: int) -> int:
    return x
"""


def test_without_ray_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    # Before the real one on the import path, where that is installed.
    (tmp_path / "ray.py").write_text('raise ModuleNotFoundError("No module named ray", name="ray")')
    done = blaze("serve", "app:app", "--port", "0", "--engine", "ray", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Ray Serve is not installed")
    assert line.endswith("pip install 'blazerpc[ray]'")


def test_options_of_ray_are_for_ray(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    done = blaze("serve", "app:app", "--port", "0", "--ray-address", "here:6379", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: --ray-address, --ray-release and --ray-start-timeout are for --engine ray; add it"
    ]

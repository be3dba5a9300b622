"""Clients of services that are not BlazeRPC's: grpcio's own, Triton's, and a zoo of everything."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from blazerpc_client import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from blazerpc_client.testing import FakeServer
from tests.conftest import ROOT
from tests.integration.conftest import blaze, foreign_server, imported

SERVICES = [
    "grpc.health.v1.Health",
    "grpc.channelz.v1.Channelz",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
    "zoo.v1.Zoo",
    "zoo.v1.ZooService",
]


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with foreign_server() as target:
        yield target


@pytest.fixture(scope="module")
def directory(target: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client of all services is."""
    directory = tmp_path_factory.mktemp("clients")
    options = [option for name in SERVICES for option in ("--service", name)]
    done = blaze(
        "client", "gen", "--from", target, "--out", str(directory), "--package", "others", *options
    )
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def others(directory: Path) -> ModuleType:
    return imported(directory, "others")


@pytest.fixture
async def zoo(others: Any, target: str) -> AsyncIterator[Any]:
    async with others.ZooServiceClient(target, timeout=20) as client:
        yield client


async def each(*items: object) -> AsyncIterator[object]:
    for item in items:
        yield item


def test_the_client_is_typed_and_formatted(directory: Path) -> None:
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    pythonpath = ["--pythonpath", sys.executable, "others"]
    for command in (
        [sys.executable, "-m", "ruff", "format", "--isolated", "--check", "others"],
        [sys.executable, "-m", "mypy", "--strict", "others"],
        [sys.executable, "-m", "basedpyright", "--level", "error", *pythonpath],
    ):
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_generating_again_gives_the_same_files(
    directory: Path, target: str, tmp_path: Path
) -> None:
    options = [option for name in SERVICES for option in ("--service", name)]
    done = blaze(
        "client", "gen", "--from", target, "--out", str(tmp_path), "--package", "others", *options
    )
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "others").iterdir())
    assert len(files) == 5
    for file in files:
        assert file.read_bytes() == (directory / "others" / file.name).read_bytes()


def test_the_client_fits_its_server(directory: Path, target: str) -> None:
    done = blaze("client", "check", "--from", target, str(directory / "others"))
    assert (done.returncode, done.stdout) == (0, "same\n")


def test_without_a_choice_there_are_all_services_but_health_and_reflection(
    target: str, tmp_path: Path
) -> None:
    done = blaze("client", "gen", "--from", target, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    source = (tmp_path / "inference_client" / "client.py").read_text()
    named = [line.split()[2].strip('`."') for line in source.splitlines() if '"""Client of' in line]
    assert sorted(named) == sorted(set(SERVICES) - {SERVICES[0], SERVICES[2]})


async def test_grpcio_tells_its_health(others: Any, target: str) -> None:
    async with others.HealthClient(target, timeout=20) as client:
        serving, not_serving = (
            others.HealthCheckResponseServingStatus.SERVING,
            others.HealthCheckResponseServingStatus.NOT_SERVING,
        )
        assert await client.check() == others.HealthCheckResponse(status=serving)
        assert (await client.check(service="zoo")).status == not_serving
        request = others.HealthCheckRequest(service="zoo")
        assert (await client.check(request)).status == not_serving
        async for response in client.watch(service="zoo"):
            assert response.status == not_serving
            break
        with pytest.raises(NotFound):
            await client.check(service="unknown")


async def test_grpcio_tells_of_its_channels(others: Any, target: str) -> None:
    async with others.ChannelzClient(target, timeout=20) as client:
        (server,) = (await client.get_servers(start_server_id=0)).server
        assert server.data.calls_started >= 1
        assert isinstance(server.data.last_call_started_timestamp, datetime)
        (socket,) = server.listen_socket
        found = await client.get_socket(socket_id=socket.socket_id)
        assert found.socket.local.tcpip_address.ip_address == bytes([127, 0, 0, 1])
        # A oneof: what the address is not, it has not.
        assert found.socket.local.uds_address is None


async def test_grpcio_reflects(others: Any, target: str) -> None:
    async with others.ServerReflectionClient(target, timeout=20) as client:
        requests = each(
            others.ServerReflectionRequest(list_services="*"),
            others.ServerReflectionRequest(file_containing_symbol="unknown"),
        )
        listed, failed = [answer async for answer in client.server_reflection_info(requests)]
        assert {s.name for s in listed.list_services_response.service} == set(SERVICES)
        assert listed.error_response is None
        assert failed.error_response.error_code == 5
        assert failed.original_request.file_containing_symbol == "unknown"


async def test_triton_infers(others: Any, target: str) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = others.ModelInferRequestInferInputTensor(name="x", datatype="FP32", shape=[2, 3])
    request = others.ModelInferRequest(
        model_name="echo",
        id="7",
        inputs=[tensor],
        parameters={"priority": others.InferParameter(int64_param=3)},
        raw_input_contents=[array.tobytes()],
    )
    async with others.GRPCInferenceClient(target, timeout=20) as client:
        assert (await client.server_live()).live
        answers = [
            await client.model_infer(request),
            await client.model_infer(
                model_name="echo",
                id="7",
                inputs=[tensor],
                parameters=request.parameters,
                raw_input_contents=request.raw_input_contents,
            ),
            *[a.infer_response async for a in client.model_stream_infer(each(request))],
        ]
    for answer in answers:
        assert (answer.model_name, answer.id) == ("echo", "7")
        assert answer.parameters["priority"].int64_param == 3
        assert answer.parameters["priority"].string_param is None
        assert answer.outputs[0].shape == [2, 3]
        assert answer.raw_output_contents == [array.tobytes()]


def animal(others: Any) -> Any:
    """An animal with something in every field."""
    cage = others.AnimalCage(number=2**64 - 1, lock=others.AnimalCageLock.SHUT)
    return others.ZooV1Animal(
        from_="here",
        load_="a",
        self="b",
        request="c",
        class_=-(2**63),
        size=others.Size(77),  # one that this client has no name for
        weight=0.0,
        tags=[1, 2**32 - 1],
        cages={"x": cage},
        flags={True: -1},
        parent=others.ZooV1Animal(from_="there", street="Main"),
        cage=cage,
        ancestor=others.ZooLegacyAnimal(
            name="Rex",
            legs=0,
            diet=[others.Diet.PLANTS],
            visit=[others.AnimalVisit(day=-1)],
        ),
        photo=b"\x00\xff",
    )


async def test_every_kind_of_field_comes_back(others: Any, zoo: Any) -> None:
    sent = animal(others)
    assert await zoo.import_(sent) == sent
    fields = {name: getattr(sent, name) for name in sent._names()}
    assert await zoo.import_(**fields) == sent
    assert await zoo.recall(sent.ancestor) == sent.ancestor


async def test_what_is_not_given_is_absent_or_zero(others: Any, zoo: Any) -> None:
    answer = await zoo.import_()
    assert answer == others.ZooV1Animal()
    assert (answer.from_, answer.class_, answer.photo) == ("", 0, b"")
    assert answer.size is others.Size.UNSPECIFIED
    assert (answer.tags, answer.cages) == ([], {})
    assert (answer.weight, answer.parent, answer.cage, answer.nest) == (None, None, None, None)
    assert (await zoo.recall(name="x")).legs is None
    assert await zoo.close_() == others.Empty()


async def test_well_known_types(others: Any, zoo: Any) -> None:
    known = others.Known(
        at=datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        lasting=timedelta(seconds=-1.5),
        text="",
        count=-1,
        answers=[True, False],
        data=others.Struct(fields={"a": others.Value(string_value="b")}),
        any=others.Any(type_url="x/y", value=b"z"),
        mask=others.FieldMask(paths=["a.b"]),
        doubles={"x": 1.5},
    )
    assert await zoo.know(known) == known
    empty = await zoo.know()
    assert (empty.at, empty.text, empty.count, empty.data) == (None, None, None, None)


async def test_all_four_shapes(others: Any, zoo: Any) -> None:
    animals = [others.ZooV1Animal(from_=name) for name in ("a", "b", "c")]
    assert (await zoo.import_all(each(*animals))).str == animals
    assert (await zoo.import_all(each())).str == []
    assert [found async for found in zoo.export(str=animals)] == animals
    assert [found async for found in zoo.export(others.list(str=animals))] == animals
    assert [found async for found in zoo.chat(each(*animals))] == animals
    assert [found async for found in zoo.chat(each())] == []


async def test_answers_come_while_requests_are_made(others: Any, zoo: Any) -> None:
    answered = asyncio.Event()

    async def requests() -> AsyncIterator[Any]:
        yield others.ZooV1Animal(from_="first")
        await asyncio.wait_for(answered.wait(), 20)
        yield others.ZooV1Animal(from_="second")

    names = []
    async for found in zoo.chat(requests()):
        names.append(found.from_)
        answered.set()
    assert names == ["first", "second"]


async def test_a_server_can_answer_before_it_was_told_all(others: Any, zoo: Any) -> None:
    closed = asyncio.Event()

    async def requests() -> AsyncIterator[Any]:
        try:
            yield others.ZooV1Animal(from_="enough")
            await asyncio.Event().wait()
        finally:
            closed.set()

    (found,) = [found async for found in zoo.chat(requests())]
    assert found.from_ == "enough"
    await asyncio.wait_for(closed.wait(), 20)
    closed.clear()
    assert len((await zoo.import_all(requests())).str) == 1
    await asyncio.wait_for(closed.wait(), 20)


async def test_what_the_requests_raise_reaches_the_caller(others: Any, zoo: Any) -> None:
    async def requests() -> AsyncIterator[Any]:
        yield others.ZooV1Animal(from_="first")
        raise FileNotFoundError("no more animals")

    with pytest.raises(FileNotFoundError, match="no more animals"):
        await zoo.import_all(requests())
    with pytest.raises(FileNotFoundError, match="no more animals"):
        async for _ in zoo.chat(requests()):
            pass
    assert await zoo.import_() == others.ZooV1Animal()  # the connection is as good as before


async def test_a_stream_fails_with_its_status(others: Any, zoo: Any) -> None:
    lost = others.ZooV1Animal(from_="nowhere")
    with pytest.raises(FailedPrecondition, match="no such place"):
        await zoo.import_all(each(others.ZooV1Animal(), lost, others.ZooV1Animal()))
    found = []
    with pytest.raises(FailedPrecondition, match="no such place"):  # noqa: PT012
        async for one in zoo.chat(each(others.ZooV1Animal(), lost)):
            found.append(one)  # noqa: PERF401 - what came before the failure counts
    assert len(found) == 1
    with pytest.raises(DeadlineExceeded):
        await zoo.with_options(timeout=0.2).import_all(each(others.ZooV1Animal(from_="slow")))


async def test_functions_can_answer_in_its_place(others: Any) -> None:
    server: Any = FakeServer(others.ZooServiceClient)
    zoo = server.client(timeout=20)

    async def import_all(animals: AsyncIterator[Any]) -> Any:
        return others.list(str=[animal async for animal in animals])

    async def chat(animals: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for animal in animals:
            yield animal

    server.answers(others.ZooServiceClient.import_)(lambda request: request)
    server.answers(others.ZooServiceClient.import_all)(import_all)
    server.answers(others.ZooServiceClient.export)(lambda request: request.str)
    server.answers(others.ZooServiceClient.chat)(chat)
    sent = animal(others)
    assert await zoo.import_(sent) == sent
    assert await zoo.import_(from_="x") == others.ZooV1Animal(from_="x")
    assert (await zoo.import_all(each(sent, sent))).str == [sent, sent]
    assert [found async for found in zoo.export(str=[sent])] == [sent]
    assert [found async for found in zoo.chat(each(sent))] == [sent]
    with pytest.raises(InvalidArgument):
        await zoo.import_all(each(others.AnimalCage()))


async def test_bad_input_is_refused_before_it_is_sent(others: Any, zoo: Any) -> None:
    cage = others.AnimalCage()
    wrong: dict[str, dict[str, Any]] = {
        "class": {"class_": 2**63},
        "class ": {"class_": "1"},
        "from": {"from_": "\ud800"},
        "size": {"size": 1},
        "tags[1]": {"tags": [0, -1]},
        "cages['x'].number": {"cages": {"x": others.AnimalCage(number=-1)}},
        "parent": {"parent": cage},
        "street": {"cage": cage, "street": "Main"},
    }
    for field, arguments in wrong.items():
        with pytest.raises(InvalidArgument) as caught:
            await zoo.import_(**arguments)
        assert caught.value.field == field.strip()
    with pytest.raises(InvalidArgument, match="expected ZooV1Animal, got AnimalCage"):
        await zoo.import_(cage)
    with pytest.raises(InvalidArgument, match="expected ZooV1Animal, got AnimalCage"):
        await zoo.import_all(each(cage))
    with pytest.raises(InvalidArgument, match="size: given beside a request that is whole"):
        await zoo.import_(others.ZooV1Animal(), size=others.Size.TINY)
    with pytest.raises(InvalidArgument, match="name: missing"):
        await zoo.recall()

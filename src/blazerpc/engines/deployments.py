"""The deployments of a release: made by its first front door, taken away by its last."""

from __future__ import annotations

import hashlib
import inspect
import logging
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ray
from ray import cloudpickle, serve
from ray.exceptions import ActorDiedError
from ray.serve.config import AutoscalingConfig, ProxyLocation
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from blazerpc.config import RayEngine
from blazerpc.engines.replica import Code, Door, Replica
from blazerpc.exceptions import StartupError
from blazerpc.runtime.executor import concurrency
from blazerpc.runtime.model import ModelInfo
from blazerpc.types import plain_function

log: logging.Logger = logging.getLogger("blazerpc")

#: Calls at one time in a replica whose model bounds them not at all: Ray Serve knows no infinity.
_MANY: Final = 1000

#: Calls at one time in a front door's actor, more than there can be streams: those that wait there
#: for their readers must not keep out what says that these have read.
_ALL: Final = 1_000_000

#: Seconds between two looks at what has become of something on Ray.
_PACE: Final = 0.1

#: Seconds between two lines that say what is waited for.
_TELLING: Final = 5.0

#: Seconds that the calls of a replica have to finish when it is taken away.
_GRACE: Final = 5.0

#: Seconds over which calls are counted, at least: Ray Serve is told of them every 10.
_LOOK_BACK: Final = 11.0

_BROKEN: Final = (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)


def replica_concurrency(model: ModelInfo) -> int:
    """Return how many calls of a model one replica takes at one time."""
    return concurrency(model) or _MANY


def release_of(models: Sequence[ModelInfo], engine: RayEngine) -> str:
    """Return what tells this release from others: equal for each of its front doors."""
    if engine.release is not None:
        return engine.release
    digest = hashlib.sha256()
    # What has no function of its own, as a graph of ONNX, is made in the app's module.
    modules = [] if engine.app is None else [sys.modules.get(engine.app.partition(":")[0])]
    for model in models:
        target = plain_function(model.factory or model.func)
        said = (model.name, model.version, model.options, model.resources, model.batching)
        digest.update(repr((said, model.input_types, model.output_type)).encode())
        modules.append(inspect.getmodule(target))
    for module in modules:
        source = getattr(module, "__file__", None)
        if source is not None:
            digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:12]


class Deployments:
    """The deployments of one release of an app, on the Ray that this process is connected to.

    All methods block.

    Args:
        engine: its options.
        app: name of the app.
        models: of it.
    """

    def __init__(self, engine: RayEngine, app: str, models: Sequence[ModelInfo]) -> None:
        self._engine = engine
        # Without a hyphen in it, since what it is the start of has them.
        self._prefix = f"blazerpc-{re.sub('[^A-Za-z0-9_]', '_', app)}-"
        self._release = f"{self._prefix}{release_of(models, engine)}"
        self._models = {f"{self._release}-{model.stem}": model for model in models}
        self._name = ""
        self._door: Any = None
        # A server that is stopped while it starts leaves while it enters.
        self._deploying = threading.Lock()

    def enter(self) -> tuple[Any, dict[str, DeploymentHandle[Any]]]:
        """Be a front door of this release; make its deployments if it is the first.

        Returns:
            Its actor, and what calls each model, by the model's stem.

        Raises:
            StartupError: when a model does not start.
        """
        serve.start(proxy_location=ProxyLocation.Disabled)
        with self._deploying, self._alone():
            self._name = f"{self._release}/{uuid.uuid4().hex}"
            self._door = _door(self._name)
            known = serve.status().applications
            missing = [
                serve.RunTarget(_application(model, self._engine), name, None)
                for name, model in self._models.items()
                if _gone(known.get(name)) or known[name].status in _BROKEN
            ]
            there = len(self._models) - len(missing)
            log.info("%s: %d models to deploy, %d there", self._release, len(missing), there)
            if missing:
                serve.run_many(missing, wait_for_applications_running=False)
        self._wait()
        handles = {model.stem: serve.get_app_handle(name) for name, model in self._models.items()}
        return self._door, handles

    def leave(self) -> None:
        """Be no front door any more; take away what no front door needs."""
        with self._deploying:
            if self._door is None or not ray.is_initialized():
                return
        with self._alone():
            ray.kill(self._door)
            # Ray may take a while to forget it.
            doors = {name for name in list_named_actors() if name != self._name}
            needed = {name.rpartition("/")[0] for name in doors}
            unneeded = [
                name
                for name in serve.status().applications
                if name.startswith(self._prefix) and name.rpartition("-")[0] not in needed
            ]
            # Each waits for its replicas.
            with ThreadPoolExecutor() as pool:
                list(pool.map(serve.delete, unneeded))
        self._door = None

    def lost(self) -> bool:
        """Return whether Ray is known to have a model of these no more."""
        try:
            known = serve.status().applications
        except ActorDiedError:  # it was that of Ray Serve
            return True
        except Exception:  # Ray goes, or is busy
            return False
        return any(_gone(known.get(name)) for name in self._models)

    def _wait(self) -> None:
        """Wait until all models run.

        Raises:
            StartupError: when one cannot, or time is over.
        """
        end = time.monotonic() + self._engine.start_timeout
        news = _News()
        while True:
            known = serve.status().applications
            if self._models.keys() - known.keys():
                raise StartupError("somebody has taken the models off Ray")
            waiting = [n for n in self._models if known[n].status is not ApplicationStatus.RUNNING]
            if not waiting:
                return
            for name in waiting:
                text = _said(known[name])
                model = self._models[name].name
                if known[name].status in _BROKEN:
                    raise StartupError(f"model {model!r} does not start on Ray: {text}")
                if time.monotonic() > end:
                    limit = self._engine.start_timeout
                    raise StartupError(f"model {model!r} did not start in {limit:g} s: {text}")
            for name in waiting:
                news.warn(f"model {self._models[name].name!r}", known[name])
            news.tell("models " + ", ".join(repr(self._models[name].name) for name in waiting))
            time.sleep(_PACE)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other front doors from making and taking away deployments meanwhile.

        Raises:
            StartupError: when another one does so for too long.
        """
        name = f"{self._prefix}lock"
        end = time.monotonic() + self._engine.start_timeout
        lock: Any = None
        news = _News()
        while lock is None:
            try:
                lock = _door(name)
            except ValueError:  # Ray's answer to a name that is taken
                if time.monotonic() > end:
                    raise StartupError(
                        f"another front door has been at the replicas for "
                        f"{self._engine.start_timeout:g} s"
                    ) from None
                news.tell("another front door, which is at the replicas")
                time.sleep(_PACE)
        try:
            yield
        finally:
            ray.kill(lock)


class _News:
    """Logs what is waited for: each warning of Ray Serve once, and the rest every few seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _TELLING
        self._warned: set[str] = set()

    def warn(self, what: str, application: ApplicationStatusOverview) -> None:
        """Log what Ray Serve says of an application that has not started, if anything."""
        if any(deployment.message for deployment in application.deployments.values()):
            text = f"{what} has not started on Ray: {_said(application)}"
            if text not in self._warned:
                self._warned.add(text)
                log.warning(text)

    def tell(self, what: str) -> None:
        """Log what is waited for, when that is due."""
        if time.monotonic() > self._next:
            self._next = time.monotonic() + _TELLING
            log.info("waiting for %s", what)


def _door(name: str) -> Any:
    """Return a new actor of that name, which lives on this node as long as this process.

    Raises:
        ValueError: when the name is taken.
    """
    # Here: the loss of another node is none of its. Again: who kills it does not end its process.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": _ALL, "max_restarts": -1}
    return ray.remote(Door).options(name=name, scheduling_strategy=here, **options).remote()


def _application(model: ModelInfo, engine: RayEngine) -> serve.Application:
    """Return a model as an application of Ray Serve.

    Raises:
        StartupError: when it cannot be sent.
    """
    resources = model.resources
    least, most = resources.bounds
    ongoing = replica_concurrency(model)
    scaling: dict[str, Any] = {"num_replicas": least}
    if least < most:
        scaling = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=least,
                max_replicas=most,
                target_ongoing_requests=max(1, ongoing // 2),
                look_back_period_s=max(engine.upscale_delay, _LOOK_BACK),
                upscale_delay_s=engine.upscale_delay,
                downscale_delay_s=engine.downscale_delay,
            )
        }
    # Called with a class it returns a Deployment, which its annotation does not say.
    deployment: Any = serve.deployment(Replica)
    deployment = deployment.options(
        name=model.stem,
        max_ongoing_requests=ongoing,
        graceful_shutdown_timeout_s=_GRACE,
        graceful_shutdown_wait_loop_s=_PACE,
        ray_actor_options={"num_cpus": resources.cpus, "num_gpus": resources.gpus},
        **scaling,
    )
    application: serve.Application = deployment.bind(_code(model, engine))
    return application


def _code(model: ModelInfo, engine: RayEngine) -> Code:
    pickled = None
    if engine.app is None:
        try:
            pickled = cloudpickle.dumps(model)
        except Exception as error:
            raise StartupError(
                f"model {model.name!r} cannot be sent to Ray ({error}); have its replicas import "
                "the app, with RayEngine(app='module:attr'), which is what blaze serve does"
            ) from error
    return Code(
        app=engine.app,
        name=model.name,
        version=model.version,
        path=str(Path.cwd()),
        pickled=pickled,
    )


def _gone(application: ApplicationStatusOverview | None) -> bool:
    return application is None or application.status is ApplicationStatus.DELETING


def _said(application: ApplicationStatusOverview) -> str:
    """Return what Ray Serve says of an application, in one line."""
    messages = [deployment.message for deployment in application.deployments.values()]
    lines = " ".join([application.message, *messages]).strip().splitlines()
    return lines[-1] if lines else str(application.status)

"""Between a decoded request and its result: registry, execution, batching, serialisation."""

from blazerpc.runtime.batcher import Batcher
from blazerpc.runtime.executor import ModelExecutor
from blazerpc.runtime.observer import Begun, Dropped, ModelObserver
from blazerpc.runtime.registry import ModelInfo, ModelRegistry
from blazerpc.runtime.serialization import TensorProto, deserialize_tensor, serialize_tensor

__all__ = [
    "Batcher",
    "Begun",
    "Dropped",
    "ModelExecutor",
    "ModelInfo",
    "ModelObserver",
    "ModelRegistry",
    "TensorProto",
    "deserialize_tensor",
    "serialize_tensor",
]

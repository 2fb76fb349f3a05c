"""Wraps any port of ours, so that every call through it is timed, counted and traced.

What is observed follows from the port's own annotations:

    async def                           span and duration of the call; the span is current inside
    -> AbstractAsyncContextManager      of the whole context, the body included
    -> AsyncIterator                    of the whole iteration, from its first step
    anything else                       handed through: it neither waits nor does I/O

The span of a context or an iteration is not current inside: it may end in another task than it began in. Its
outcome is that of whatever ended it, the caller's body included.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import wraps
from types import TracebackType, new_class
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, cast, get_origin, get_type_hints

from opentelemetry.trace import Tracer

from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.adapters.telemetry.observation import Observation, Observer
from photochanger.application.ports import ImageProvider, TransformRequest
from photochanger.domain.errors import ProviderFault
from photochanger.domain.operation import ProviderDescription

if TYPE_CHECKING:
    from typing_extensions import TypeForm

PortT = TypeVar("PortT")
_T_co = TypeVar("_T_co", covariant=True)
_Begin = Callable[[tuple[Any, ...], dict[str, Any]], Observation]

_RECORDED_ARGUMENTS: Final = ("job_id", "media_id")
_HANDED_THROUGH: Final = frozenset({"keys"})
"""Iterations without a span: the sweeper's walk over all files takes as long as it likes."""


def observed(port_type: "TypeForm[PortT]", adapter: PortT, *, tracer: Tracer, metrics: Metrics) -> PortT:
    """Return `adapter` behind a proxy that is a `port_type`, opens spans `Port.method` and counts outcomes.

    Of the arguments only `job_id` and `media_id` are recorded. Attributes that the port does not have are
    the adapter's own. Raises `AttributeError` where the adapter lacks a method of the port.
    """
    port = cast("type[Any]", port_type)

    def observer(operation: str) -> Observer:
        return metrics.port_observer(port.__name__, operation)

    return cast("PortT", _proxy(port, adapter, tracer, observer))


def observed_provider(provider: ImageProvider, *, tracer: Tracer, metrics: Metrics) -> ImageProvider:
    """Return `provider` observed as a port, and counted under its own name besides.

    Calls that may have been charged for nothing are counted too: a cancelled call is one of them.
    """
    by_name = metrics.provider_observer(provider.description.name)

    def observer(operation: str) -> Observer:
        as_port = metrics.port_observer(ImageProvider.__name__, operation)

        def both(outcome: str, seconds: float) -> None:
            as_port(outcome, seconds)
            by_name(outcome, seconds)

        return both

    return cast("ImageProvider", _proxy(ImageProvider, _Billed(provider, metrics), tracer, observer))


class _Billed(ImageProvider):
    """A provider whose calls that may have been charged for nothing are counted."""

    def __init__(self, provider: ImageProvider, metrics: Metrics) -> None:
        self._provider = provider
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    @property
    def description(self) -> ProviderDescription:
        return self._provider.description

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        try:
            await self._provider.transform(request, into)
        except asyncio.CancelledError:
            self._metrics.maybe_billed(self.description.name)
            raise
        except ProviderFault as fault:
            if fault.maybe_billed:
                self._metrics.maybe_billed(self.description.name)
            raise

    async def close(self) -> None:
        await self._provider.close()


def _proxy(port: type[Any], adapter: object, tracer: Tracer, observer: Callable[[str], Observer]) -> object:
    members: dict[str, object] = {"__getattr__": lambda _self, name: getattr(adapter, name)}
    for name in _operations(port):
        method = inspect.getattr_static(port, name)
        wrap = _wrapper_for(method)
        if wrap is None:
            getattr(adapter, name)
            members[name] = _handed_through(adapter, name)
            continue
        begin = _beginning(tracer, f"{port.__name__}.{name}", method, observer(name), current=wrap is _call)
        # Without `updated=()` the wrapper would inherit the mark of an abstract method.
        members[name] = wraps(method, updated=())(wrap(getattr(adapter, name), begin))
    proxy: type[object] = new_class(
        f"Observed{port.__name__}", (port,), {}, lambda body: body.update(members)
    )
    return proxy()


def _operations(port: type[Any]) -> set[str]:
    """Return what the port promises: its abstract members, and the methods that it brings itself."""
    brought = {name for name, member in vars(port).items() if inspect.isfunction(member) and name[0] != "_"}
    return brought.union(port.__abstractmethods__)


def _wrapper_for(method: object) -> Callable[[Any, _Begin], Callable[..., Any]] | None:
    if not inspect.isfunction(method) or method.__name__ in _HANDED_THROUGH:
        return None
    if inspect.iscoroutinefunction(method):
        return _call
    returned = get_origin(get_type_hints(method).get("return"))
    return _WRAPPERS.get(returned)


def _beginning(
    tracer: Tracer, name: str, method: Callable[..., Any], observe: Observer, *, current: bool
) -> _Begin:
    parameters = list(inspect.signature(method).parameters)[1:]
    recorded = [
        (argument, parameters.index(argument)) for argument in _RECORDED_ARGUMENTS if argument in parameters
    ]

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Observation:
        observation = Observation(tracer, name, observe, current=current)
        if recorded and observation.span.is_recording():
            for argument, index in recorded:
                value = args[index] if index < len(args) else kwargs.get(argument)
                observation.span.set_attribute(argument, str(value))
        return observation

    return begin


def _handed_through(adapter: object, name: str) -> property:
    return property(lambda _self: getattr(adapter, name))


def _call(method: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    async def call(_self: object, *args: Any, **kwargs: Any) -> Any:
        with begin(args, kwargs):
            return await method(*args, **kwargs)

    return call


def _context(method: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    def enter(_self: object, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[Any]:
        return _ObservedContext(method(*args, **kwargs), lambda: begin(args, kwargs))

    return enter


def _iteration(method: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    async def iterate(_self: object, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with begin(args, kwargs):
            items = method(*args, **kwargs)
            try:
                async for item in items:
                    yield item
            finally:
                if hasattr(items, "aclose"):  # closing is the loop's only way to end it early, as it is ours
                    await items.aclose()

    return iterate


_WRAPPERS: Final[Mapping[object, Callable[[Any, _Begin], Callable[..., Any]]]] = {
    AbstractAsyncContextManager: _context,
    AsyncIterator: _iteration,
}


class _ObservedContext(AbstractAsyncContextManager[_T_co]):
    """A context manager of the adapter's, observed from its entry to its exit."""

    def __init__(self, inner: AbstractAsyncContextManager[_T_co], begin: Callable[[], Observation]) -> None:
        self._inner = inner
        self._begin = begin
        self._observation: Observation | None = None

    async def __aenter__(self) -> _T_co:
        self._observation = observation = self._begin()
        try:
            return await self._inner.__aenter__()
        except BaseException as error:
            observation.end(error)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        observation = self._observation
        if observation is None:
            raise RuntimeError("the context was left before it was entered")
        try:
            suppressed = await self._inner.__aexit__(kind, error, traceback)
        except BaseException as own_error:
            observation.end(own_error)
            raise
        observation.end(None if suppressed else error)
        return suppressed

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from photochanger.adapters.memory import MemoryStorage
from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.adapters.telemetry.observed import observed, observed_provider
from photochanger.adapters.telemetry.tracing import configure_tracing, continued_from
from photochanger.application.ports import (
    Clock,
    ImageProvider,
    MediaRegistry,
    MediaStore,
    MediaWriter,
    PasswordHasher,
    PreparedImage,
    Signals,
    SlotRepository,
    Subscription,
    Topic,
    TransformRequest,
)
from photochanger.domain.audit import AuditEntry
from photochanger.domain.errors import (
    ProviderError,
    ProviderNoImage,
    ProviderRefused,
    SlotNotFound,
    StorageUnavailable,
)
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.media import MediaId, StoredFile
from photochanger.domain.operation import ProviderDescription
from photochanger.domain.slot import ProviderCall, Slot, SlotConfiguration, SlotId

pytestmark = pytest.mark.anyio

Counted = Callable[[str, str, str], float | None]

CANARY = "c4n4ry-S3cret"
MAYBE_BILLED = "photochanger_provider_maybe_billed_total"
SLOT = Slot(
    slot_id=SlotId("slot-001"),
    configuration=SlotConfiguration(call=ProviderCall(provider="p", operation="o")),
)


class Slots(SlotRepository):
    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.blocked = asyncio.Event()
        self.span_inside: trace.Span = trace.INVALID_SPAN

    async def get(self, slot_id: SlotId) -> Slot:
        self.span_inside = trace.get_current_span()
        if self.error:
            raise self.error
        return SLOT

    async def list(self) -> list[Slot]:
        await self.blocked.wait()
        return [SLOT]

    async def save(self, slot: Slot, *, entry: AuditEntry) -> Slot:
        return slot


class Writer(MediaWriter):
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        raise StorageUnavailable

    def contents(self) -> BinaryIO:
        return io.BytesIO()

    async def commit(self) -> StoredFile:
        return StoredFile(size_bytes=0, sha256="")


class Store(MediaStore):
    root = "/media"

    def __init__(self) -> None:
        self.log: list[str] = []

    @asynccontextmanager
    async def create(self, key: str) -> AsyncIterator[MediaWriter]:
        try:
            yield Writer()
        finally:
            self.log.append("writer closed")

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[BinaryIO]:
        if key == "missing":
            raise FileNotFoundError(key)
        yield io.BytesIO(b"bytes")

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        try:
            for number in range(start, stop or 9):
                yield bytes([number])
        finally:
            self.log.append("reader closed")

    async def local(self, key: str) -> BinaryIO | None:
        return None

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        yield io.BytesIO()

    async def delete(self, keys: Collection[str]) -> Collection[str]:
        self.log.append(f"deleted {', '.join(keys)}")
        return keys

    async def keys(self, after: str = "") -> AsyncIterator[str]:
        yield "a"

    async def ping(self) -> None:
        self.log.append("pinged")


class Hasher(PasswordHasher):
    async def hash(self, password: str) -> str:
        return "hash"

    async def verify(self, password: str, password_hash: str) -> bool:
        return True


class Hints(Signals):
    def subscribe(self, topic: Topic, subject: str = "") -> AbstractContextManager[Subscription]:
        raise NotImplementedError(topic)

    def watch(self, *topics: Topic) -> AbstractContextManager[Subscription]:
        raise NotImplementedError(topics)


class StoppedClock(Clock):
    def now(self) -> datetime:
        return datetime.min.replace(tzinfo=UTC)

    def monotonic(self) -> float:
        return 1.5


@pytest.fixture
def inner_slots() -> Slots:
    return Slots()


@pytest.fixture
def slots(inner_slots: Slots, tracer: Tracer, metrics: Metrics) -> SlotRepository:
    return observed(SlotRepository, inner_slots, tracer=tracer, metrics=metrics)


@pytest.fixture
def inner_store() -> Store:
    return Store()


@pytest.fixture
def store(inner_store: Store, tracer: Tracer, metrics: Metrics) -> MediaStore:
    return observed(MediaStore, inner_store, tracer=tracer, metrics=metrics)


@pytest.fixture
def counted(value: Callable[..., float | None]) -> Counted:
    """Returns how many calls of a port's operation had an outcome."""
    return lambda port, operation, outcome: value(
        "photochanger_port_duration_seconds_count", port=port, operation=operation, outcome=outcome
    )


def generator(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    assert isinstance(chunks, AsyncGenerator)
    return chunks


async def test_a_call_is_passed_on_timed_and_traced(
    slots: SlotRepository, inner_slots: Slots, spans: InMemorySpanExporter, counted: Counted
) -> None:
    assert await slots.get(SlotId("slot-001")) is SLOT
    (span,) = spans.get_finished_spans()
    assert span.name == "SlotRepository.get"
    assert dict(span.attributes or {}) == {"outcome": "ok"}
    assert span.status.status_code is StatusCode.UNSET
    assert inner_slots.span_inside.get_span_context() == span.get_span_context()
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert counted("SlotRepository", "get", "ok") == 1


async def test_a_proxy_is_of_the_port_and_shows_the_adapters_own_attributes(store: MediaStore) -> None:
    assert MediaStore in type(store).__mro__
    assert getattr(store, "root") == "/media"  # noqa: B009 -- the port has no such attribute
    with pytest.raises(AttributeError):
        getattr(store, "nothing")  # noqa: B009


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        (SlotNotFound(), "slot_not_found", StatusCode.UNSET),
        (StorageUnavailable(f"password={CANARY}"), "storage_unavailable", StatusCode.ERROR),
        (ValueError(CANARY), "error", StatusCode.ERROR),
    ],
    ids=["caller", "ours", "unexpected"],
)
async def test_errors_pass_through_unchanged_and_their_text_is_not_recorded(
    *,
    slots: SlotRepository,
    inner_slots: Slots,
    spans: InMemorySpanExporter,
    counted: Counted,
    error: Exception,
    outcome: str,
    status: StatusCode,
) -> None:
    inner_slots.error = error
    with pytest.raises(type(error)) as caught:
        await slots.get(SlotId("slot-001"))
    assert caught.value is error
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is status
    assert (span.attributes or {})["outcome"] == outcome
    assert not span.events
    assert CANARY not in span.to_json()
    assert counted("SlotRepository", "get", outcome) == 1


async def test_cancellation_passes_through_and_is_no_error(
    slots: SlotRepository, spans: InMemorySpanExporter, counted: Counted
) -> None:
    task = asyncio.create_task(slots.list())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["outcome"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET
    assert counted("SlotRepository", "list", "cancelled") == 1


async def test_only_ids_are_recorded_of_the_arguments(
    tracer: Tracer, spans: InMemorySpanExporter, metrics: Metrics
) -> None:
    hasher = observed(PasswordHasher, Hasher(), tracer=tracer, metrics=metrics)
    assert await hasher.verify(CANARY, password_hash=CANARY)
    (span,) = spans.get_finished_spans()
    assert dict(span.attributes or {}) == {"outcome": "ok"}


async def test_ids_are_found_however_they_are_given(
    tracer: Tracer, spans: InMemorySpanExporter, metrics: Metrics
) -> None:
    registry = observed(MediaRegistry, MemoryStorage().media, tracer=tracer, metrics=metrics)
    await registry.get(MediaId("a"))
    await registry.get(media_id=MediaId("b"))
    assert [(span.attributes or {})["media_id"] for span in spans.get_finished_spans()] == ["a", "b"]


async def test_a_call_that_does_not_fit_is_the_callers_error(tracer: Tracer, metrics: Metrics) -> None:
    registry: Any = observed(MediaRegistry, MemoryStorage().media, tracer=tracer, metrics=metrics)
    with pytest.raises(TypeError):
        await registry.get()
    with pytest.raises(TypeError):
        await registry.get(MediaId("a"), 2, nonsense=3)


async def test_a_context_is_observed_from_entry_to_exit(
    store: MediaStore, spans: InMemorySpanExporter, counted: Counted
) -> None:
    async with store.open("key") as file:
        assert file.read() == b"bytes"
        assert spans.get_finished_spans() == ()
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert [span.name for span in spans.get_finished_spans()] == ["MediaStore.open"]
    assert counted("MediaStore", "open", "ok") == 1


async def test_a_context_that_cannot_be_entered_says_so(
    store: MediaStore, spans: InMemorySpanExporter, counted: Counted
) -> None:
    with pytest.raises(FileNotFoundError):
        async with store.open("missing"):
            pytest.fail("entered")
    assert len(spans.get_finished_spans()) == 1
    assert counted("MediaStore", "open", "error") == 1


async def test_an_error_inside_a_context_reaches_the_adapter_and_the_caller(
    store: MediaStore, inner_store: Store, counted: Counted
) -> None:
    with pytest.raises(StorageUnavailable):
        async with store.create("key") as writer:
            await writer.write(b"x")
    assert inner_store.log == ["writer closed"]
    assert counted("MediaStore", "create", "storage_unavailable") == 1


async def test_cancellation_inside_a_context_is_no_error(
    store: MediaStore, inner_store: Store, counted: Counted
) -> None:
    async def upload() -> None:
        async with store.create("key"):
            await asyncio.Event().wait()

    task = asyncio.create_task(upload())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner_store.log == ["writer closed"]
    assert counted("MediaStore", "create", "cancelled") == 1


async def test_an_adapter_may_suppress_an_error_of_the_body(
    tracer: Tracer, metrics: Metrics, counted: Counted
) -> None:
    class Forgiving(Store):
        @asynccontextmanager
        async def open(self, key: str) -> AsyncIterator[BinaryIO]:
            try:
                yield io.BytesIO()
            except ValueError:
                return

    store = observed(MediaStore, Forgiving(), tracer=tracer, metrics=metrics)

    async def body() -> None:
        async with store.open("key"):
            raise ValueError

    await body()
    assert counted("MediaStore", "open", "ok") == 1


async def test_an_iteration_is_observed_to_its_end(
    store: MediaStore, inner_store: Store, spans: InMemorySpanExporter, counted: Counted
) -> None:
    assert [chunk async for chunk in store.read("key", 1, stop=4)] == [b"\x01", b"\x02", b"\x03"]
    assert inner_store.log == ["reader closed"]
    assert [span.name for span in spans.get_finished_spans()] == ["MediaStore.read"]
    assert counted("MediaStore", "read", "ok") == 1


async def test_an_iteration_closed_early_closes_the_adapters_at_once(
    store: MediaStore, inner_store: Store, counted: Counted
) -> None:
    chunks = generator(store.read("key"))
    assert await anext(chunks) == b"\x00"
    await chunks.aclose()
    assert inner_store.log == ["reader closed"]
    assert counted("MediaStore", "read", "cancelled") == 1


async def test_an_iteration_that_nobody_began_leaves_no_trace(
    store: MediaStore, spans: InMemorySpanExporter
) -> None:
    store.read("key")
    assert spans.get_finished_spans() == ()


async def test_what_neither_waits_nor_does_io_is_handed_through(
    store: MediaStore, tracer: Tracer, spans: InMemorySpanExporter, metrics: Metrics
) -> None:
    signals = observed(Signals, Hints(), tracer=tracer, metrics=metrics)
    clock = observed(Clock, StoppedClock(), tracer=tracer, metrics=metrics)
    with pytest.raises(NotImplementedError), signals.subscribe(Topic.JOB_PENDING):
        pass
    with store.scratch() as file:
        assert file.read() == b""
    assert await anext(store.keys()) == "a"
    assert (clock.now().year, clock.monotonic()) == (1, 1.5)
    assert spans.get_finished_spans() == ()


async def test_an_incomplete_adapter_is_noticed_at_once(tracer: Tracer, metrics: Metrics) -> None:
    with pytest.raises(AttributeError):
        observed(Clock, object(), tracer=tracer, metrics=metrics)


class Provider(ImageProvider):
    """Ends every call in the way it is told."""

    key_is_set = True

    def __init__(self, fault: BaseException | None) -> None:
        self.fault = fault
        self.closed = 0

    @property
    def description(self) -> ProviderDescription:
        return ProviderDescription(name="gemini", display_name="Gemini", operations=())

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        if self.fault is not None:
            raise self.fault
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed += 1


def a_request() -> TransformRequest:
    photo = PreparedImage(
        file=io.BytesIO(), info=ImageInfo(image_type=ImageType.JPEG, width=1, height=1), size_bytes=0
    )
    return TransformRequest(photo=photo, operation="o", params={"prompt": CANARY}, deadline=0)


async def test_a_provider_is_counted_under_its_own_name_too(
    tracer: Tracer,
    spans: InMemorySpanExporter,
    metrics: Metrics,
    value: Callable[..., float | None],
    counted: Counted,
) -> None:
    provider = observed_provider(Provider(ProviderRefused()), tracer=tracer, metrics=metrics)
    assert provider.description.name == "gemini"
    with pytest.raises(ProviderRefused):
        await provider.transform(a_request(), io.BytesIO())
    (span,) = spans.get_finished_spans()
    assert span.name == "ImageProvider.transform"
    assert CANARY not in span.to_json()
    labels = {"provider": "gemini", "outcome": "provider_refused"}
    assert value("photochanger_provider_duration_seconds_count", **labels) == 1
    assert counted("ImageProvider", "transform", "provider_refused") == 1


@pytest.mark.parametrize(
    ("fault", "billed"),
    [
        (ProviderError(maybe_billed=True), 1),
        (ProviderNoImage(maybe_billed=True), 1),
        (ProviderError(), None),
        (ProviderRefused(), None),
        (StorageUnavailable(), None),
    ],
    ids=repr,
)
async def test_calls_that_may_have_been_charged_for_nothing_are_counted(
    tracer: Tracer,
    metrics: Metrics,
    value: Callable[..., float | None],
    fault: Exception,
    billed: float | None,
) -> None:
    provider = observed_provider(Provider(fault), tracer=tracer, metrics=metrics)
    with pytest.raises(type(fault)) as caught:
        await provider.transform(a_request(), io.BytesIO())
    assert caught.value is fault
    assert value(MAYBE_BILLED, provider="gemini") == billed


async def test_a_cancelled_call_may_have_been_charged(
    tracer: Tracer, metrics: Metrics, value: Callable[..., float | None]
) -> None:
    provider = observed_provider(Provider(None), tracer=tracer, metrics=metrics)
    call = asyncio.ensure_future(provider.transform(a_request(), io.BytesIO()))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert value(MAYBE_BILLED, provider="gemini") == 1


async def test_what_a_port_brings_itself_reaches_the_adapter_too(
    tracer: Tracer, metrics: Metrics, counted: Counted
) -> None:
    inner = Provider(None)
    provider = observed_provider(inner, tracer=tracer, metrics=metrics)
    await provider.close()
    assert inner.closed == 1
    assert counted("ImageProvider", "close", "ok") == 1
    assert getattr(provider, "key_is_set")  # noqa: B009 -- the port has no such attribute


async def test_inside_a_trace_that_is_not_recorded_calls_are_counted_and_have_no_spans(
    metrics: Metrics, counted: Counted
) -> None:
    tracer, inner = configure_tracing(version="1").tracer, Slots()
    proxy = observed(SlotRepository, inner, tracer=tracer, metrics=metrics)
    with tracer.start_as_current_span("request") as request:
        await proxy.get(SlotId("slot-001"))
    assert inner.span_inside is request
    assert counted("SlotRepository", "get", "ok") == 1


async def test_what_outlives_the_span_around_it_is_recorded_all_the_same(
    slots: SlotRepository, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    with tracer.start_as_current_span("request") as request:
        request.end()
        await slots.get(SlotId("slot-001"))
    assert {span.name for span in spans.get_finished_spans()} == {"request", "SlotRepository.get"}


async def test_a_trace_that_began_elsewhere_has_spans_of_ours(
    slots: SlotRepository, spans: InMemorySpanExporter
) -> None:
    with continued_from("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        await slots.get(SlotId("slot-001"))
    (span,) = spans.get_finished_spans()
    assert span.parent is not None
    assert span.parent.is_remote


async def test_spans_of_one_task_nest_and_never_leak(
    slots: SlotRepository, store: MediaStore, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    with tracer.start_as_current_span("job") as job:
        async with store.open("key"), aclosing(generator(store.read("key"))) as chunks:
            async for _ in chunks:
                await slots.get(SlotId("slot-001"))
                assert trace.get_current_span() is job
                break
    parents = {span.name: span.parent.span_id if span.parent else None for span in spans.get_finished_spans()}
    assert parents.pop("job") is None
    assert set(parents) == {"MediaStore.open", "MediaStore.read", "SlotRepository.get"}
    assert set(parents.values()) == {job.get_span_context().span_id}

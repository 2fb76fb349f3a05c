"""Getting a picture: the call plan of a job, carried out attempt by attempt."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final, TypeAlias

from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.images import FinishedImage, ImageEditor
from photochanger.application.ports.media import MediaStore
from photochanger.application.ports.providers import ImageProvider, ProviderUsage, TransformRequest
from photochanger.application.provider_inputs import PrepareInputs, ProviderInputs
from photochanger.application.provider_places import TakePlace
from photochanger.domain.breaker import CircuitBreakers, Hindrance, Target, Trial
from photochanger.domain.call_plan import Attempt, Call, CallPlan, GiveUp, Pause, Route
from photochanger.domain.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    InvalidImage,
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderQuotaExhausted,
    UnsupportedMediaType,
)
from photochanger.domain.job import Job, ResultSource
from photochanger.domain.operation import Operation
from photochanger.domain.slot import ProviderCall

_AT_THE_DEADLINE_SEC: Final = 0.05
"""Timers fire up to a millisecond early, and a busy loop late: what is cut short so close to the deadline was
cut short by it."""


@dataclass(slots=True)
class Progress:
    """How far the calls of one job have come, whatever ends them."""

    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A provider's picture, checked and cleaned, and where it came from."""

    finished: FinishedImage
    source: ResultSource


@dataclass(slots=True)
class _Pursuit:
    """One job on its way to a picture.

    `provider` is where it has its place, which it was claimed with; None while it waits for one. `inputs` are
    those prepared so far: for its own call, its fallback.
    """

    job: Job
    deadline: float
    progress: Progress
    provider: str | None
    attempts: list[Attempt] = field(default_factory=list)
    inputs: dict[bool, ProviderInputs] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


AttemptReport: TypeAlias = Callable[[Job, Attempt], None]
"""Told of every attempt that brought no picture."""

PauseReport: TypeAlias = Callable[[str, str | None, bool], None]
"""Told after every call of a provider and model whether further calls are kept away from it."""


class CallProviders:
    """Calls providers for a job as its plan says, until there is a picture or the plan gives up.

    The breakers are this process's: each finds out for itself that a provider is down, with one probe at a
    time. Calls are counted against the quotas of the settings before they are made; a database that does not
    answer is no reason not to call.

    A job is called for at one provider at a time, and only while it has a place there under the limits. The
    first place comes with the claim; where the plan goes to another provider, the job moves.
    """

    def __init__(
        self,
        *,
        providers: Callable[[str], ImageProvider | None],
        inputs: PrepareInputs,
        store: MediaStore,
        images: ImageEditor,
        usage: ProviderUsage,
        take_place: TakePlace,
        configuration: CurrentConfiguration,
        clock: Clock,
        jitter: Callable[[], float],
        on_failed_attempt: AttemptReport = lambda _job, _attempt: None,
        on_call_ended: PauseReport = lambda _provider, _model, _is_paused: None,
    ) -> None:
        self._providers = providers
        self._inputs = inputs
        self._store = store
        self._images = images
        self._usage = usage
        self._take_place = take_place
        self._configuration = configuration
        self._clock = clock
        self._jitter = jitter
        self._on_failed_attempt = on_failed_attempt
        self._on_call_ended = on_call_ended
        self._breakers = CircuitBreakers()

    @asynccontextmanager
    async def __call__(self, job: Job, *, deadline: float, progress: Progress) -> AsyncIterator[Picture]:
        """Return the picture for the time of the context; `deadline` is in monotonic seconds.

        Raises the `ProviderFault` that tells best why there is none, or `DeadlineExceeded` where there was no
        time for any call. The caller cancels at the deadline.
        """
        pursuit = _Pursuit(job, deadline, progress, job.configuration.call.provider)
        async with pursuit.stack:
            yield await self._pursue(pursuit)

    def paused(self) -> Sequence[Target]:
        """Return the providers and models that calls are kept away from."""
        return self._breakers.open()

    async def _pursue(self, pursuit: _Pursuit) -> Picture:
        configuration = pursuit.job.configuration
        plan = CallPlan(routes=list(self._routes(pursuit.job)), retry=configuration.retry)
        while True:
            now = self._clock.monotonic()
            decision = plan.next(
                pursuit.attempts, now=now, deadline=pursuit.deadline, hindrance=self._hindrance
            )
            match decision:
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case GiveUp(error):
                    raise DeadlineExceeded if self._is_over(pursuit) else error
                case Call(route, limit_sec) if pursuit.provider != route.call.provider:
                    await self._move(pursuit, route, limit_sec)
                case _:
                    # Nothing is awaited between the plan's word and the breaker's: one probe stays one.
                    picture = await self._attempt(pursuit, decision.route, decision.limit_sec)
                    if picture is not None:
                        return picture

    async def _move(self, pursuit: _Pursuit, route: Route, limit_sec: float) -> None:
        """Take a place at another provider; then the plan is asked again, for it may have taken a while."""
        provider, pursuit.provider = route.call.provider, None
        if await self._take_place(
            pursuit.job, provider, within_sec=max(0.0, limit_sec - route.least_useful_sec)
        ):
            pursuit.provider = provider
            return
        fault = ProviderError("There was no place at the image provider in time")
        self._remember(pursuit, route, fault, was_called=False)

    def _routes(self, job: Job) -> Sequence[Route]:
        configuration = job.configuration
        calls = [(configuration.call, False)]
        if configuration.fallback is not None:
            calls.append((configuration.fallback, True))
        return [
            Route(
                call=call, model=model, is_fallback=is_fallback, least_useful_sec=self._least_useful_sec(call)
            )
            for call, is_fallback in calls
            for model in self._models(call)
        ]

    def _models(self, call: ProviderCall) -> Sequence[str | None]:
        provider = self._providers(call.provider)
        operation = provider.description.operation(call.operation) if provider else None
        return (operation.models_in(call.params) if operation else ()) or (None,)

    def _least_useful_sec(self, call: ProviderCall) -> float:
        provider = self._providers(call.provider)
        return provider.description.least_useful_sec if provider else 0.0

    def _hindrance(self, route: Route) -> Hindrance | None:
        return self._breakers.hindrance(route.target, self._clock.monotonic())

    async def _attempt(self, pursuit: _Pursuit, route: Route, limit_sec: float) -> Picture | None:
        """Take a way; None where it failed, which is then among the attempts."""
        began = self._clock.monotonic()
        trial = self._breakers.begin(route.target, began)
        calls_before = pursuit.progress.attempts
        try:
            picture = await self._within(limit_sec, pursuit, route)
        except ProviderFault as fault:
            was_called = pursuit.progress.attempts > calls_before
            was_late = _began_late(pursuit, began) and self._clock.monotonic() >= began + limit_sec
            self._end(route, trial, fault, is_telling=was_called and not was_late)
            self._remember(pursuit, route, fault, was_called=was_called)
            return None
        except BaseException as error:
            # A call that the deadline cuts short is the provider's failure, unless there was little time left
            # when it began; any other end says nothing of it.
            was_cut_short = isinstance(error, asyncio.CancelledError) and self._is_over(pursuit)
            was_called = pursuit.progress.attempts > calls_before
            slow = ProviderError("The image provider took too long", maybe_billed=was_called)
            is_telling = was_cut_short and was_called and not _began_late(pursuit, began)
            self._end(route, trial, slow, is_telling=is_telling)
            if was_cut_short:
                self._remember(pursuit, route, slow, was_called=was_called)
            raise
        self._end(route, trial, None, is_telling=True)
        return picture

    def _end(self, route: Route, trial: Trial, fault: ProviderFault | None, *, is_telling: bool) -> None:
        if is_telling:
            self._breakers.end(route.target, trial, fault, self._clock.monotonic())
        else:
            self._breakers.abandon(route.target, trial)
        self._on_call_ended(*route.target, trial.breaker.is_open)

    def _remember(self, pursuit: _Pursuit, route: Route, fault: ProviderFault, *, was_called: bool) -> None:
        attempt = Attempt(
            route=route,
            fault=fault,
            ended_at=self._clock.monotonic(),
            jitter=self._jitter(),
            was_called=was_called,
        )
        pursuit.attempts.append(attempt)
        self._on_failed_attempt(pursuit.job, attempt)

    def _is_over(self, pursuit: _Pursuit) -> bool:
        return self._clock.monotonic() >= pursuit.deadline - _AT_THE_DEADLINE_SEC

    async def _within(self, limit_sec: float, pursuit: _Pursuit, route: Route) -> Picture:
        limit = asyncio.timeout(limit_sec)
        calls_before = pursuit.progress.attempts
        try:
            async with limit:
                return await self._call(pursuit, route, self._clock.monotonic() + limit_sec)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ProviderError(
                "The image provider took too long", maybe_billed=pursuit.progress.attempts > calls_before
            ) from None

    async def _call(self, pursuit: _Pursuit, route: Route, deadline: float) -> Picture:
        provider, operation = self._provider_for(route.call)
        inputs = await self._prepared(pursuit, route, provider)
        await self._count(route.call.provider)
        async with AsyncExitStack() as stack:
            picture = stack.enter_context(self._store.scratch())
            offering = (
                self._inputs.offered(inputs, pursuit.job, ttl_sec=deadline - self._clock.monotonic())
                if provider.description.takes_links
                else nullcontext(inputs)
            )
            async with offering as given:
                pursuit.progress.attempts += 1
                await provider.transform(_request(given, route, operation, deadline), picture)
            finished = await self._finish(stack, picture)
            # What the picture needs lives on with the pursuit.
            pursuit.stack.push_async_exit(stack.pop_all())
        source = ResultSource.FALLBACK if route.is_fallback else ResultSource.PROVIDER
        return Picture(finished=finished, source=source)

    def _provider_for(self, call: ProviderCall) -> tuple[ImageProvider, Operation]:
        provider = self._providers(call.provider)
        if provider is None:
            raise ProviderMisconfigured(f"There is no provider {call.provider} here")
        operation = provider.description.operation(call.operation)
        if operation is None:
            raise ProviderMisconfigured(f"{call.provider} has no operation {call.operation}")
        if not provider.description.is_configured:
            raise ProviderMisconfigured(f"{provider.description.display_name} has no key")
        return provider, operation

    async def _prepared(self, pursuit: _Pursuit, route: Route, provider: ImageProvider) -> ProviderInputs:
        """Return the images for this call; they are prepared once, however often it is repeated."""
        known = pursuit.inputs.get(route.is_fallback)
        if known is None:
            preparing = self._inputs.prepared(pursuit.job, route.call, provider.description)
            known = await pursuit.stack.enter_async_context(preparing)
            pursuit.inputs[route.is_fallback] = known
        return known.rewound()

    async def _count(self, provider: str) -> None:
        """Count the call against its quota; raises `ProviderQuotaExhausted` where none is left."""
        with suppress(DatabaseUnavailable):
            limits = (await self._configuration.get()).settings.limits
            wait_sec = await self._usage.take(provider, limits.quota(provider))
            if wait_sec is not None:
                raise ProviderQuotaExhausted(
                    "The quota that is set for the image provider is used up", retry_after_sec=wait_sec
                )

    async def _finish(self, stack: AsyncExitStack, picture: BinaryIO) -> FinishedImage:
        """Check and clean the provider's picture; a bad one is the provider's failure, not the booth's."""
        try:
            return await stack.enter_async_context(self._images.finish(picture))
        except (InvalidImage, UnsupportedMediaType) as error:
            raise ProviderError(
                "The image provider answered with a picture that cannot be used", maybe_billed=True
            ) from error


def _began_late(pursuit: _Pursuit, began: float) -> bool:
    """Say whether most of the job's time was over before a call began, in the queue or with other calls.

    What such a call does not get done is no failure of the provider's. If it were, a queue that has become
    too long would open the breaker, and so become longer still.
    """
    whole_sec = (pursuit.job.deadline - pursuit.job.created_at).total_seconds()
    return pursuit.deadline - began < whole_sec / 2


def _request(inputs: ProviderInputs, route: Route, operation: Operation, deadline: float) -> TransformRequest:
    return TransformRequest(
        photo=inputs.photo,
        photo_url=inputs.photo_url,
        templates=inputs.templates,
        operation=operation.name,
        params=operation.with_defaults(route.call.params),
        model=route.model,
        deadline=deadline,
    )

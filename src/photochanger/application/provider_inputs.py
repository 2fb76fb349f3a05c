"""What a provider is given for a job: the photo and the templates, prepared for it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from photochanger.application.patience import until_answered
from photochanger.application.ports.configuration import TemplateRepository
from photochanger.application.ports.images import ImageEditor, PreparedImage
from photochanger.application.ports.media import MediaStore
from photochanger.application.ports.providers import TemplateImage
from photochanger.application.provider_links import ProviderLinks
from photochanger.domain.errors import ProviderError, ProviderMisconfigured
from photochanger.domain.image import ImageRequirements
from photochanger.domain.job import Job
from photochanger.domain.media import MediaKind, media_key
from photochanger.domain.operation import ProviderDescription
from photochanger.domain.slot import ProviderCall, TemplateBinding
from photochanger.domain.template import Template

_NEVER_FETCHED: Final = "The photo's link was never fetched: can the provider reach PUBLIC_BASE_URL?"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderInputs:
    """The images of one call; `photo_url` and the templates' URLs where the provider takes links."""

    photo: PreparedImage
    templates: Sequence[TemplateImage] = ()
    photo_url: str | None = None

    def rewound(self) -> "ProviderInputs":
        """Return the same with every file at its beginning, for another attempt."""
        for image in (self.photo, *(template.image for template in self.templates)):
            image.file.seek(0)
        return self


class PrepareInputs:
    """Prepares images for providers, and offers them on public links to those that take links."""

    def __init__(
        self,
        *,
        store: MediaStore,
        images: ImageEditor,
        templates: TemplateRepository,
        links: ProviderLinks,
    ) -> None:
        self._store = store
        self._images = images
        self._templates = templates
        self._links = links

    @asynccontextmanager
    async def prepared(
        self, job: Job, call: ProviderCall, description: ProviderDescription
    ) -> AsyncIterator[ProviderInputs]:
        """Open the photo and the call's templates and prepare them as the provider requires.

        Raises what `ImageEditor.prepare` raises for the photo, and `ProviderMisconfigured` for a template
        that is there no longer.
        """
        requirements = description.image_requirements
        async with AsyncExitStack() as stack:
            photo = await self._prepared(stack, media_key(MediaKind.PAYLOAD, job.payload_id), requirements)
            templates = [
                TemplateImage(role=binding.role, image=await self._template(stack, template, requirements))
                for binding, template in await self._bound(call)
            ]
            yield ProviderInputs(photo=photo, templates=templates)

    async def _bound(self, call: ProviderCall) -> Sequence[tuple[TemplateBinding, Template]]:
        if not call.template_media:
            return ()
        wanted = [binding.template_id for binding in call.template_media]
        found = await until_answered(lambda: self._templates.find(wanted))
        try:
            return [(binding, found[binding.template_id]) for binding in call.template_media]
        except KeyError:
            raise ProviderMisconfigured("A template of the slot is there no longer") from None

    async def _template(
        self, stack: AsyncExitStack, template: Template, requirements: ImageRequirements
    ) -> PreparedImage:
        """Prepare a template, to no more bytes than it was stored with: the slot was checked with those."""
        image = template.image
        bounded = replace(requirements, max_bytes=min(requirements.max_bytes, image.file.size_bytes))
        return await self._prepared(stack, media_key(MediaKind.TEMPLATE, image.media_id), bounded)

    async def _prepared(
        self, stack: AsyncExitStack, key: str, requirements: ImageRequirements
    ) -> PreparedImage:
        file = await stack.enter_async_context(self._store.open(key))
        return await stack.enter_async_context(self._images.prepare(file, requirements))

    @asynccontextmanager
    async def offered(
        self, inputs: ProviderInputs, job: Job, *, ttl_sec: float
    ) -> AsyncIterator[ProviderInputs]:
        """Offer the images on public links while the context lasts.

        A failure while nobody has fetched the photo gets a note that says so: it is the usual reason.
        """
        images = [inputs.photo, *(template.image for template in inputs.templates)]
        async with self._links.offered(images, slot_id=job.slot_id, ttl_sec=ttl_sec) as offered:
            photo, *others = offered
            templates = [
                replace(template, url=link.url)
                for template, link in zip(inputs.templates, others, strict=True)
            ]
            try:
                yield replace(inputs, photo_url=photo.url, templates=templates)
            except ProviderError as error:
                if await self._links.unfetched(offered):
                    error.add_note(_NEVER_FETCHED)
                raise

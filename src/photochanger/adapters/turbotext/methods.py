"""The methods of Turbotext's API that we offer, and the form fields each is called with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from photochanger.application.ports.providers import TransformRequest
from photochanger.domain.errors import ProviderMisconfigured
from photochanger.domain.operation import Operation, Parameter, ParameterValue, TemplateRole

_MAX_TEXT: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """An operation, and the form fields that its images' links go into.

    Mind that `url` and `url_image_target` change their roles from method to method.
    """

    operation: Operation
    photo_field: str
    template_fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def links(self, request: TransformRequest) -> Iterator[tuple[str, str | None]]:
        """Yield the form field and the link of each image."""
        yield self.photo_field, request.photo_url
        for template in request.templates:
            yield self.template_fields[template.role], template.url


GENERATE_IMAGE2IMAGE: Final = Method(
    photo_field="url",
    operation=Operation(
        name="generate_image2image",
        display_name="Picture from a photo and a prompt",
        parameters=(
            Parameter(
                name="content",
                kind=str,
                description="What to make of the photo: the prompt",
                required=True,
                minimum=1,
                maximum=_MAX_TEXT,
            ),
            Parameter(
                name="strength",
                kind=int,
                description="How far the picture may be from the photo",
                default=40,
                minimum=0,
                maximum=80,
            ),
            Parameter(
                name="seed",
                kind=int,
                description="A number that makes the picture repeatable; a random one where it is left out",
                minimum=1,
                maximum=10**10,
            ),
            Parameter(
                name="scale",
                kind=float,
                description="How closely the prompt is followed",
                default=7.5,
                minimum=0.1,
                maximum=20,
            ),
            Parameter(
                name="negative_prompt",
                kind=str,
                description="What the picture must not show, in at most 80 words",
                maximum=_MAX_TEXT,
                pattern=r"\s*(?:\S+\s+){0,79}\S*",
            ),
            Parameter(
                name="original_language",
                kind=str,
                description="The language of the prompt, as two letters",
                default="ru",
                pattern="[a-z]{2}",
                suggestions=("ru", "en"),
            ),
            Parameter(
                name="user_id",
                kind=int,
                description="A number that Turbotext puts into the names of its files",
                default=1,
                minimum=1,
                maximum=2**31 - 1,
            ),
        ),
    ),
)

MIX_IMAGES: Final = Method(
    photo_field="url_image_target",
    template_fields={"style": "url"},
    operation=Operation(
        name="mix_images",
        display_name="Photo in the style of another image",
        parameters=(
            Parameter(
                name="content",
                kind=str,
                description="A prompt that makes the effect stronger",
                minimum=1,
                maximum=_MAX_TEXT,
            ),
        ),
        template_roles=(TemplateRole(role="style", required=True),),
    ),
)

DEEPFAKE_PHOTO: Final = Method(
    photo_field="url_image_target",
    template_fields={"scene": "url"},
    operation=Operation(
        name="deepfake_photo",
        display_name="The guest's face in another image",
        parameters=(
            Parameter(
                name="face_restore",
                kind=bool,
                description="Whether the face is made clearer afterwards",
                default=False,
            ),
        ),
        template_roles=(TemplateRole(role="scene", required=True),),
    ),
)

METHODS: Final = (GENERATE_IMAGE2IMAGE, MIX_IMAGES, DEEPFAKE_PHOTO)


def method_of(request: TransformRequest) -> Method:
    """Return the method for `request`; raises `ProviderMisconfigured` where it does not fit any."""
    method = next((method for method in METHODS if method.operation.name == request.operation), None)
    if method is None:
        raise ProviderMisconfigured("Turbotext has no such operation")
    roles = [template.role for template in request.templates]
    if next(method.operation.problems(request.params, roles, ""), None) is not None:
        raise ProviderMisconfigured("The parameters or templates for Turbotext are not valid")
    return method


def as_form_value(value: ParameterValue) -> str:
    """Return a parameter as the form has it: `True`, `7.5`, text."""
    return str(value)

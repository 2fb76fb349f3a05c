"""What is offered of Gemini: the operations, their parameters, and the roles of their templates."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from photochanger.adapters.gemini.models import (
    AUTO,
    KNOWN,
    PREFERRED,
    RATIOS,
    RETIRED,
    SIZES,
    THINKING_LEVELS,
)
from photochanger.domain.operation import Operation, Parameter, TemplateRole

GUIDES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "background": "shows the background to put the people of the photo in front of",
        "object": "shows an object, a costume or a logo to add to the photo",
        "reference": "is a reference for the instructions below",
        "style": "shows the style to take over; nothing else of it may appear in the picture",
    }
)
"""What the model is told of a template: "Image 2 …"."""

_STYLE_PROMPT: Final = (
    "Redraw the photo in the style of the style image: take over its colours, light, lines and textures. "
    "Keep every person recognisable, with the same face, pose and expression. Keep the number of people and "
    "the composition. Add no text."
)

SAFETY: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "safety_harassment": ("HARM_CATEGORY_HARASSMENT", "harassment"),
        "safety_hate_speech": ("HARM_CATEGORY_HATE_SPEECH", "hate speech"),
        "safety_sexually_explicit": ("HARM_CATEGORY_SEXUALLY_EXPLICIT", "sexually explicit content"),
        "safety_dangerous_content": ("HARM_CATEGORY_DANGEROUS_CONTENT", "dangerous content"),
        "safety_civic_integrity": ("HARM_CATEGORY_CIVIC_INTEGRITY", "content about elections"),
    }
)
"""Parameter to Gemini's category and what it is about (ai.google.dev/gemini-api/docs/safety-settings)."""

DEFAULT: Final = "default"
"""Leave the threshold to the model."""

_THRESHOLDS: Final = (
    DEFAULT,
    "block_low_and_above",
    "block_medium_and_above",
    "block_only_high",
    "block_none",
    "off",
)

_MODELS: Final = Parameter(
    name="models",
    kind=tuple,
    description="The models to try in turn, the best first: when one fails or is gone, the next is tried",
    default=PREFERRED,
    minimum=1,
    maximum=5,
    suggestions=tuple(KNOWN),
    pattern=r"[a-z0-9][a-z0-9.-]*",
    retired=RETIRED,
)

_PICTURE: Final = (
    Parameter(
        name="aspect_ratio",
        kind=str,
        description="Width to height of the picture; auto keeps the photo's. "
        "A model that does not have the ratio makes the nearest it has",
        default=AUTO,
        choices=(AUTO, *RATIOS),
    ),
    Parameter(
        name="image_size",
        kind=str,
        description="About how many pixels the picture is wide and high: 1K is quick, and enough for a print "
        "of 10 × 15 cm. A model that does not have the size makes the nearest it has",
        default="1K",
        choices=SIZES,
    ),
    Parameter(
        name="thinking_level",
        kind=str,
        description="How long the model thinks before it draws: minimal is the quickest by far, "
        "auto leaves it to the model",
        default="minimal",
        choices=(AUTO, *THINKING_LEVELS),
    ),
)

_SAFETY: Final = tuple(
    Parameter(
        name=name,
        kind=str,
        description=f"From which probability on {what} is blocked; what Gemini's image policy forbids "
        "is blocked anyway",
        default=DEFAULT,
        choices=_THRESHOLDS,
    )
    for name, (_category, what) in SAFETY.items()
)


def _prompt(description: str, default: str | None = None) -> Parameter:
    return Parameter(
        name="prompt",
        kind=str,
        description=description,
        default=default,
        required=default is None,
        minimum=1,
        maximum=8000,
    )


EDIT_IMAGE: Final = Operation(
    name="edit_image",
    display_name="Edit by prompt",
    parameters=(
        _prompt(
            "What to do with the photo, in plain words and any language. Templates can be named by their "
            "roles: background, object, reference"
        ),
        _MODELS,
        *_PICTURE,
        *_SAFETY,
    ),
    template_roles=(
        TemplateRole(role="background"),
        TemplateRole(role="object"),
        TemplateRole(role="reference"),
    ),
    models=_MODELS.name,
)

STYLE_TRANSFER: Final = Operation(
    name="style_transfer",
    display_name="Style transfer",
    parameters=(
        _prompt("How the style of the style image is taken over", _STYLE_PROMPT),
        _MODELS,
        *_PICTURE,
        *_SAFETY,
    ),
    template_roles=(TemplateRole(role="style", required=True),),
    models=_MODELS.name,
)

OPERATIONS: Final = (EDIT_IMAGE, STYLE_TRANSFER)

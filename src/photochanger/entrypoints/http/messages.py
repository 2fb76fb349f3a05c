"""What people read in an answer, in English and Russian.

English is the source: titles belong to the error classes, sentences to where they are raised. This
catalogue holds the Russian of both, sentences by their English text, with `{…}` where values stand.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from photochanger.domain.errors import PhotoChangerError


class Language(StrEnum):
    """The languages of the answers."""

    EN = "en"
    RU = "ru"


RUSSIAN_TITLES: Final[Mapping[str, str]] = {
    "database_unavailable": "База данных недоступна",
    "idempotency_key_reused": "Этот Idempotency-Key уже использован для другой фотографии",
    "internal_error": "Внутренняя ошибка PhotoChanger",
    "invalid_image": "Изображение повреждено или превышает ограничения",
    "invalid_password": "Пароль приёма не указан или неверен",
    "invalid_request": "Не удалось разобрать запрос",
    "job_finalized": "Задание уже завершено",
    "job_not_found": "Такого задания нет",
    "media_expired": "Срок действия ссылки истёк",
    "media_not_found": "Такого файла нет",
    "method_not_allowed": "Этот метод здесь не поддерживается",
    "not_found": "По этому адресу ничего нет",
    "overloaded": "Слишком много работы в очереди",
    "payload_too_large": "Файл слишком большой",
    "provider_error": "Сбой у поставщика изображений",
    "provider_misconfigured": "Поставщик изображений настроен неверно",
    "provider_no_image": "Поставщик ответил без изображения",
    "provider_quota_exhausted": "Поставщик изображений пока не принимает новые запросы",
    "provider_refused": "Поставщик отказался обрабатывать эту фотографию",
    "range_not_satisfiable": "Запрошенный диапазон лежит за концом файла",
    "result_expired": "Срок хранения результата истёк",
    "result_not_found": "Такого результата нет",
    "shutting_down": "Сервер завершает работу",
    "slot_disabled": "Слот выключен",
    "slot_not_found": "Такого слота нет",
    "storage_unavailable": "Хранилище файлов недоступно",
    "template_not_found": "Такого шаблона нет",
    "timeout": "Изображение не было готово вовремя",
    "unsupported_media_type": "Принимаются только изображения JPEG, PNG и WebP",
    "validation_failed": "Настройки содержат ошибки",
    "version_conflict": "Кто-то уже изменил эти данные",
}

RUSSIAN_SENTENCES: Final[Mapping[str, str]] = {
    "The file is empty": "Файл пуст",
    "The job was cancelled": "Задание отменено администратором",
    "The image has no pixels": "В изображении нет ни одного пикселя",
    "The image has {width} × {height} pixels; {limit} megapixels are allowed": (
        "В изображении {width} × {height} пикселей; допускается {limit} мегапикселей"
    ),
    "The image has {frames} frames; {limit} is allowed": (
        "В изображении кадров: {frames}; допускается {limit}"
    ),
    "The upload is larger than the {limit} MB that are allowed": "Файл больше допустимых {limit} МБ",
    "The body must be multipart/form-data": "Тело запроса должно быть в формате multipart/form-data",
    "The body must not be encoded": "Тело запроса не должно быть сжато (Content-Encoding)",
    "The boundary of the form is missing or too long": "Граница частей формы не указана или слишком длинная",
    "The form is broken or incomplete": "Форма повреждена или получена не полностью",
    "The form has no photo: send it as fileToUpload": (
        "В форме нет фотографии: передайте её в поле fileToUpload"
    ),
    "The form has more than one photo": "В форме больше одной фотографии",
    "The form has more than one {name}": "Поле {name} указано в форме больше одного раза",
    "The form has a part without a name": "В форме есть часть без имени",
    "The form has more than {limit} fields": "В форме больше {limit} полей",
    "A field of the form is larger than {limit} bytes": "Поле формы больше {limit} байт",
    "The headers of a part are larger than {limit} bytes": "Заголовки части формы больше {limit} байт",
    "The body stopped arriving": "Данные перестали поступать",
    "The password is not valid UTF-8": "Пароль не является корректным текстом UTF-8",
    "{name} must be given at most once": "{name} можно указать только один раз",
    "Idempotency-Key must be 1 to 255 printable ASCII characters": (
        "Idempotency-Key — от 1 до 255 печатных символов ASCII"
    ),
    "inline must be true, preview or false": "inline может быть true, preview или false",
    "Exactly one valid Host header is required": "Нужен ровно один правильный заголовок Host",
    "Content-Length and Transfer-Encoding exclude each other": (
        "Content-Length и Transfer-Encoding не могут быть указаны вместе"
    ),
    "The request has too many header fields, or too large ones": (
        "Слишком много заголовков или они слишком велики"
    ),
    "The URL is too long": "Слишком длинный адрес",
}


def preferred_language(accept_language: str) -> Language:
    """Return the language that an `Accept-Language` header prefers; English where it names neither."""
    preferred, best = Language.EN, 0.0
    for entry in accept_language.split(","):
        tag, _, parameter = entry.strip().partition(";")
        quality = _quality(parameter)
        if quality > best and (primary := tag.partition("-")[0].lower()) in set(Language):
            preferred, best = Language(primary), quality
    return preferred


def _quality(parameter: str) -> float:
    given = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", parameter)
    return float(given[1]) if given else 1.0


def title_of(error: type[PhotoChangerError], language: Language) -> str:
    """Return what an error is called."""
    return RUSSIAN_TITLES.get(error.code, error.title) if language is Language.RU else error.title


def sentence(text: str, language: Language) -> str:
    """Return an English sentence in `language`; the sentence itself where it has no translation."""
    if language is Language.EN:
        return text
    for pattern, russian in _PATTERNS:
        if found := pattern.fullmatch(text):
            return russian.format(**found.groupdict())
    return text


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^ ;]+)", re.escape(template)))


_PATTERNS: Final = tuple((_pattern(english), russian) for english, russian in RUSSIAN_SENTENCES.items())

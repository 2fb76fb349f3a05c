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
    "forbidden": "Этой учётной записи такое действие не разрешено",
    "gallery_disabled": "У этого слота нет открытой галереи",
    "idempotency_key_reused": "Этот Idempotency-Key уже использован для другой фотографии",
    "internal_error": "Внутренняя ошибка PhotoChanger",
    "invalid_credentials": "Неверное имя пользователя или пароль",
    "invalid_image": "Изображение повреждено или превышает ограничения",
    "invalid_password": "Пароль приёма не указан или неверен",
    "invalid_request": "Не удалось разобрать запрос",
    "job_finalized": "Задание уже завершено",
    "job_not_found": "Такого задания нет",
    "media_expired": "Срок действия ссылки истёк",
    "media_not_found": "Такого файла нет",
    "method_not_allowed": "Этот метод здесь не поддерживается",
    "not_authenticated": "Войдите в систему",
    "not_found": "По этому адресу ничего нет",
    "overloaded": "Слишком много работы в очереди",
    "payload_too_large": "Файл слишком большой",
    "provider_error": "Сбой у поставщика изображений",
    "provider_misconfigured": "Поставщик изображений настроен неверно",
    "provider_no_image": "Поставщик ответил без изображения",
    "provider_quota_exhausted": "Поставщик изображений пока не принимает новые запросы",
    "provider_refused": "Поставщик отказался обрабатывать эту фотографию",
    "range_not_satisfiable": "Запрошенный диапазон лежит за концом файла",
    "rate_limited": "Фотографии поступают слишком часто",
    "result_expired": "Срок хранения результата истёк",
    "result_not_found": "Такого результата нет",
    "shutting_down": "Сервер завершает работу",
    "slot_busy": "У этого слота слишком длинная очередь",
    "slot_disabled": "Слот выключен",
    "slot_not_found": "Такого слота нет",
    "storage_unavailable": "Хранилище файлов недоступно",
    "template_in_use": "Шаблон используется",
    "template_not_found": "Такого шаблона нет",
    "timeout": "Изображение не было готово вовремя",
    "token_expired": "Срок действия входа истёк",
    "too_many_attempts": "Слишком много неудачных попыток входа",
    "unsupported_media_type": "Такой тип содержимого не принимается",
    "validation_failed": "Некоторые поля заполнены неверно",
    "version_conflict": "Кто-то уже изменил эти данные",
}

RUSSIAN_SENTENCES: Final[Mapping[str, str]] = {
    "The file is empty": "Файл пуст",
    "There is no room in the media store": "В хранилище файлов нет места",
    "There is no room for files in work": "Нет места для временных файлов",
    "The media folder is not there: is its disk mounted?": "Папка с файлами недоступна: подключён ли диск?",
    "The media store takes too long": "Хранилище файлов отвечает слишком долго",
    "The file could not be written": "Файл не удалось записать",
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
    "Only JPEG, PNG and WebP images are accepted": "Принимаются только изображения JPEG, PNG и WebP",
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
    "The text holds characters that cannot be stored": "Текст содержит символы, которые нельзя сохранить",
    "The body is not valid JSON": "Тело запроса не является правильным JSON",
    "The body must be application/json": "Тело запроса должно быть в формате application/json",
    "The form has no file: send it as file": "В форме нет файла: передайте его в поле file",
    "A field of the form is not valid UTF-8": "Поле формы не является корректным текстом UTF-8",
    "The permission {permission} is needed": "Нужно право {permission}",
    "The template is in use by {slots:list}": "Шаблон используется: {slots}",
}

RUSSIAN_PROBLEMS: Final[Mapping[str, str]] = {
    "must be given": "нужно указать",
    "must be given at most once": "можно указать только один раз",
    "there is no such field": "такого поля нет",
    "there is no such slot": "такого слота нет",
    "there is no such template": "такого шаблона нет",
    "is not a cursor of ours": "это не наша ссылка на страницу",
    "is not written as it should be": "записано неправильно",
    "is bound twice": "указано дважды",
    "is there twice": "указано дважды",
    "must have 1 to {most} of the characters {characters:list}": "от 1 до {most} символов из {characters}",
    "must not hold NUL characters": "не должно содержать символов NUL",
    "must differ from the slot's own call": "должно отличаться от основного вызова слота",
    "must be later than from": "должно быть позже, чем from",
    "must be a string": "должно быть строкой",
    "must be a string or null": "должно быть строкой или null",
    "must be a whole number": "должно быть целым числом",
    "must be a whole number or null": "должно быть целым числом или null",
    "must be a number": "должно быть числом",
    "must be true or false": "должно быть true или false",
    "must be a list": "должно быть списком",
    "must be a list of strings": "должно быть списком строк",
    "must be an object": "должно быть объектом",
    "must be an object or null": "должно быть объектом или null",
    "must have {least} to {most} characters": "должно содержать от {least} до {most} символов",
    "must have {least} to {most} printable characters": (
        "должно содержать от {least} до {most} печатных символов"
    ),
    "must have at most {most} characters": "должно содержать не больше {most} символов",
    "must have at least {least} characters": "должно содержать не меньше {least} символов",
    "must be between {least} and {most}": "должно быть от {least} до {most}",
    "must be at least {least}": "должно быть не меньше {least}",
    "must be at least {least} for {provider:list}": "для {provider} должно быть не меньше {least}",
    "must be at most {most}": "должно быть не больше {most}",
    "length must be at least {least}": "длина должна быть не меньше {least}",
    "length must be at most {most}": "длина должна быть не больше {most}",
    "value must be at least {least}": "значение должно быть не меньше {least}",
    "value must be at most {most}": "значение должно быть не больше {most}",
    "number of items must be at least {least}": "элементов должно быть не меньше {least}",
    "number of items must be at most {most}": "элементов должно быть не больше {most}",
    "must be one of {choices:list}": "должно быть одним из: {choices}",
    "needs a template as {role}": "нужен шаблон в роли {role}",
    "{operation} has no such parameter": "у {operation} нет такого параметра",
    "{operation} has no such role": "у {operation} нет такой роли",
    "has {size} MB; {provider:list} takes {limit} MB of templates at most": (
        "{size} МБ; {provider} принимает шаблонов не больше {limit} МБ"
    ),
    "must be longer: the period would have more than {most} buckets": (
        "должно быть длиннее: в периоде было бы больше {most} интервалов"
    ),
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
    """Return what recognises a sentence; `{name}` stands for one word, `{name:list}` for several."""
    words = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^ ;]+)", re.escape(template))
    return re.compile(re.sub(r"\\\{(\w+):list\\\}", r"(?P<\1>[^;]+?)", words))


_PATTERNS: Final = tuple(
    (_pattern(english), russian) for english, russian in {**RUSSIAN_SENTENCES, **RUSSIAN_PROBLEMS}.items()
)

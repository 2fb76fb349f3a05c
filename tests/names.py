"""Names for tests, which lead wherever a test wants."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from aiohttp.abc import AbstractResolver, ResolveResult


class Names(AbstractResolver):
    """A resolver that answers from a table, a set of addresses at a time; the last one again and again."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]] = MappingProxyType({})) -> None:
        self._answers = {name: list(of_name) for name, of_name in answers.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self._answers:
            raise OSError(None, "no such name")
        answers = self._answers[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=0, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        return

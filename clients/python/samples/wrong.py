"""What type checkers find: each line that says so, and no other."""

from __future__ import annotations

from typing import List, TypedDict

import relata
import relata.asyncio


class Ticket(TypedDict, total=False):
    id: int
    subject: str


def synchronous(client: relata.Client) -> None:
    tickets = client.resource("ticket", Ticket)
    tickets.get(1)["subject"]  # wrong: it may be None
    tickets.read()[0]["subjct"]  # wrong: no such field
    count: str = client.count("ticket")  # wrong: an integer
    client.get("ticket")  # wrong: no key
    client.gett("ticket", 1)  # wrong: no such method
    print(count)


async def with_asyncio(client: relata.asyncio.Client) -> None:
    tickets = client.resource("ticket", Ticket)
    found: List[Ticket] = tickets.read()  # wrong: not awaited

    async def lengths(keys: List[str]) -> List[int]:
        return [len(key) for key in keys]

    loader: relata.asyncio.Loader[str, int] = relata.asyncio.Loader(lengths)
    loader.load(5)  # wrong: a text is the key
    print(found)

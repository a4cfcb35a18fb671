"""What type checkers know of the client. mypy --strict finds nothing in it."""

from __future__ import annotations

import asyncio
from typing import Any, Dict, List, Optional, TypedDict

import relata
import relata.asyncio


class Ticket(TypedDict, total=False):
    id: int
    subject: str
    priority: int


def synchronous() -> Optional[str]:
    with relata.connect() as client:
        tickets = client.resource("ticket", Ticket)
        ticket = tickets.get(1)
        urgent: List[Ticket] = tickets.read(filter="priority > $min", params={"min": 8})
        count: int = client.count("ticket")
        record: Optional[relata.Record] = client.get("ticket", count + len(urgent))
        request = client.request(actor={"id": 1})
        request.load("representative.tickets", 1, {"limit": 5})
        try:
            client.update("ticket", 1, {"priority": 1}, if_="priority > 1")
        except relata.Conflict as error:
            return error.message

        @client.provider("representative.tickets_above_threshold", max_in_flight=2)
        def above(records: List[relata.Record], context: relata.Context[relata.Reads]
                  ) -> Dict[Any, List[relata.Record]]:
            ids = [one["id"] for one in records]
            found = context.client.read("ticket", filter="representative_id in $ids",
                                        params={"ids": ids})
            return relata.group_by(found, "representative_id")

        above([], relata.Context("a.b", {}, {}, client))
        return None if ticket is None or record is None else ticket["subject"]


async def with_asyncio() -> List[int]:
    async with relata.asyncio.Client() as client:
        tickets = client.resource("ticket", Ticket)
        ticket = await tickets.get(1)
        request = client.request()
        loader = request.loader("representative.tickets", {"limit": 5})
        await asyncio.gather(loader.load(1), loader.load_many([2, 3]))

        async def lengths(keys: List[str]) -> List[int]:
            return [len(key) for key in keys]

        own: relata.asyncio.Loader[str, int] = relata.asyncio.Loader(lengths)
        length: int = await own.load("four")
        return [length, 0 if ticket is None else ticket["priority"]]

"""The same for `query: hint` (examples/helpdesk/schema-hint.yaml): it is shown
what the caller asks, and reads no more than that. For asyncio, since it reads
for all representatives at once."""

import asyncio
import signal

import relata.asyncio

OWN = "representative_id == $representative and priority > representative.priority_threshold"


async def tickets_above_threshold(representatives, context):
    query = dict(context.query)
    filter = f"({OWN}) and ({query.pop('filter')})" if "filter" in query else OWN
    params = query.pop("params", {})

    # One read each, since the limit is for each.
    return await asyncio.gather(*(
        context.client.read("ticket", query, filter=filter,
                            params={**params, "representative": representative["id"]})
        for representative in representatives))


async def main():
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with relata.asyncio.Client() as client:
        await client.provide("representative.tickets_above_threshold", tickets_above_threshold)
        print("providing", flush=True)
        await ended.wait()


asyncio.run(main())

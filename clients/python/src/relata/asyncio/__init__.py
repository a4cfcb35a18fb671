"""Relata's client for asyncio, with the names of the synchronous one.

    async with relata.asyncio.Client("unix:/run/relata/relata.sock") as client:
        await client.get("representative", 1, load="team")
"""

from .client import BatchReads, Client, connect
from .loader import Loader
from .methods import Methods, Reads, Resource
from .request import Request, RequestLoader

__all__ = ["BatchReads", "Client", "Loader", "Methods", "Reads", "Request", "RequestLoader",
           "Resource", "connect"]

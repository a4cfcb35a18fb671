"""The same where the tickets are not the daemon's: they are in the SQLite file
TICKETS_DB, which knows nothing of Relata's queries; the daemon applies what its
callers ask to what comes. Where it is shown their limit (`query: hint`), and
can keep it, it does."""

import os
import signal
import sqlite3
import threading

import relata

client = relata.connect()

TICKETS = """
    SELECT id, subject, status, priority, representative_id, created_at FROM ticket
    WHERE representative_id = :id AND priority > :priority_threshold
    ORDER BY priority DESC, id LIMIT :limit
"""


def tickets_of(database, representative, limit):
    sealed = database.execute("SELECT 1 FROM sealed WHERE representative_id = :id", representative)
    if sealed.fetchone():
        # In the place of an answer: this representative's loads fail, no other's.
        return relata.LoaderFailed(f"the tickets of {representative['name']} are sealed")
    return [dict(row) for row in database.execute(TICKETS, {**representative, "limit": limit})]


@client.provider("representative.tickets_above_threshold")
def tickets_above_threshold(representatives, context):
    # A limit is good for this order and no condition only; -1 is none.
    query = context.query
    is_ours = query.get("sort") == "-priority" and "filter" not in query
    limit = query.get("limit", -1) if is_ours else -1

    # What is raised here, be it that there is no such file, fails the whole batch.
    database = sqlite3.connect(f"file:{os.environ['TICKETS_DB']}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    try:
        return [tickets_of(database, representative, limit) for representative in representatives]
    finally:
        database.close()


ended = threading.Event()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: ended.set())
print("providing", flush=True)
ended.wait()
client.close()

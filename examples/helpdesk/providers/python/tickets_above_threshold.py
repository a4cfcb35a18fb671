"""Provides representative.tickets_above_threshold: those of a representative's
tickets whose priority is above her own threshold. Ends with its terminal, or by
SIGTERM.

  relatad --schema examples/helpdesk/schema-remote.yaml
  RELATA_ADDRESS=unix:... python3 tickets_above_threshold.py
"""

import signal
import threading

import relata

client = relata.connect()


@client.provider("representative.tickets_above_threshold")
def tickets_above_threshold(representatives, context):
    tickets = context.client.read(
        "ticket",
        filter="representative_id in $ids and priority > representative.priority_threshold",
        params={"ids": [representative["id"] for representative in representatives]})
    return relata.group_by(tickets, "representative_id")


ended = threading.Event()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: ended.set())
print("providing", flush=True)
ended.wait()
client.close()

"""The HTTP door: routes, the booth's exchange, public results, operations.

    app.py          puts the doors together            multipart.py   our policy on forms
    ingest.py       POST /ingest/{slot_id}             intake.py      from a form to a job
    results.py      public results                     answer.py      a final job as an answer
    jobs.py         a job's state                      conditions.py  304, 206, 416
    health.py       livez, readyz, metrics             errors.py      the one table to HTTP statuses
    documentation.py  OpenAPI and its page             messages.py    English and Russian

    edge: arrival.py → lingering.py → access.py → guard.py → Litestar

Handlers decode, call one use case, and encode. What every request needs is done at the edge, as plain ASGI,
so that it also holds for requests that match no route.
"""

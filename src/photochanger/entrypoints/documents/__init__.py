"""The JSON of administration: what is asked for and what is shown, over HTTP and on the command line alike.

    reading.py      documents and queries, read strictly, with all problems at once
    slots.py        settings.py    templates.py    jobs.py    audit.py
    links.py        public addresses               timestamps.py  moments as they are written

Structs that are read say what may be sent; OpenAPI is generated from them. Structs that are shown have an
`of` that makes them from the domain's values. Nothing here knows HTTP.
"""

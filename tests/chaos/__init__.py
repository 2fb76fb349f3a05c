"""The chaos test: everything that can go wrong at once, and a checker that finds whatever came of it.

`python -m tests.chaos --help` says how it is run; `test_chaos.py` does it in small for every change. In shape
it is Jepsen's: `load.py` generates operations, `nemesis.py` injects faults, `history.py` keeps what every
client and every fault did when, and `checker.py` judges that together with what `observed.py` found at the
end. `tests/crash` goes deeper into what is written in which order, on one server; this goes wider.
"""

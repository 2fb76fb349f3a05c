"""The rules of PhotoChanger.

Two rules of this package:

1. It imports the pure parts of the standard library only: no clock, no randomness, no I/O, no logging.
   Whoever needs the time receives `now`.
2. Its values are frozen. A change is a new value, so nothing can be altered behind a caller's back.
"""

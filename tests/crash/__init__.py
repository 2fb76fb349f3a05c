"""The crash test: PhotoChanger is killed again and again under a mixed load, and has to have lost nothing.

`python -m tests.crash --help` says how it is run; `test_crash.py` does it in small for every change.
"""

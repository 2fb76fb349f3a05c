"""The commands for whoever runs an installation. They work on its database, also while it serves.

    desk.py         opens the database, runs what a command does, prints the answer
    edits.py        KEY=VALUE and files, as changes of a document
    passwords.py    secrets come from a terminal or from standard input, never as an argument
    tables.py       answers as people read them

Each of the others is one command or group, `COMMAND`. What is printed with `--json` is what HTTP answers.
"""

"""The use cases of PhotoChanger, and in `ports` what they need from the world.

Imports the domain and the standard library only. Nothing here knows HTTP, SQL, Pillow, logs or metrics.
"""

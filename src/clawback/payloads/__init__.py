"""
What a session is shown of a payload, and single values out of it. Pure, and known to every room.

The stored event stays as it was received; what is here is made of it each time that it is shown.
"""

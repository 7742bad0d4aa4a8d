"""Where a mail system runs: as a daemon, or inside the user's own process.

daemon        event loop, signals, ready file
ready_file    how other processes find a daemon
certificates  the local authority and the server's certificate
offline       a store without a daemon, for maintenance
embedded      `with Sandbox() as box`, `async with Sandbox() as box`
box           what a test does with a running sandbox
synchronous   the same for synchronous users
messages      a stored message, ready to assert on
"""

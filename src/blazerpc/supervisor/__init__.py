"""Processes that serve one app on one port: started, watched, replaced, stopped.

Nothing here imports the app, so nothing that the app does can harm the supervisor.
"""

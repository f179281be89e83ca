"""Replays a plan through the port and keeps the journal. What to do is the planner's to say, how is the backend's."""

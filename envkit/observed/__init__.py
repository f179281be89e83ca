"""What is: the state that a backend reads from live objects, as plain dataclasses (standard library only)."""

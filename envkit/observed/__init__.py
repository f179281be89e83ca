"""What is: the state that a backend reads from live objects, as plain values (standard library only)."""

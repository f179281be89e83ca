"""The planner: pure functions from desired and observed state to a Plan. No I/O, no clock, no environment."""

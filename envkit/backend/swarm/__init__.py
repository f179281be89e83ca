"""A Docker Swarm as a runtime: `--backend swarm`.

One service of the YAML is one service of the Swarm, whose tasks the managers place, restart and roll out; envkit tells
a manager what must be, follows the tasks until it is so, and says what stands in the way. What was applied is kept in
the service's own labels. The manager's engine is enough for everything but what happens inside of a container (exec,
cp, stats) and for images without a registry: for those the engine of each node is asked (`nodes:` of the target).
"""

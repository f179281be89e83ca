def check(cluster, home, environment):
    return ()

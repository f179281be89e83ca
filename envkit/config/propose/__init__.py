"""Proposes an envkit.yaml for what exists already: a compose file with its Dockerfiles, or an engine's containers.

    compose      a compose project -> a Proposal
    containers   `inspect` of containers -> a Proposal
    recipe       a Dockerfile -> base, layers and configuration, or why not; commands: what a RUN does
    services     what a service of envkit.yaml should say that it does not say yet
    known        what is known of public images
    document     the YAML that is worked on: comments and `${…}` stay
    differences  what two Environments differ in, service by service

Pure but for the reading of the project's files; nothing is written here.
"""

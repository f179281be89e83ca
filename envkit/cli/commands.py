"""The table of commands: name, module, function, one line of help, aliases (Compose's names)."""

from __future__ import annotations

from envkit.values import value


@value
class Command:
    """function is the handler's name in envkit.cli.MODULE; its flags are declared by add_FUNCTION."""

    name: str
    module: str
    function: str
    help: str
    group: str
    aliases: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


_START, _DAILY, _LOOK, _IMAGES, _CARE = "Getting started", "The daily loop", "Looking", "Images and volumes", "Care"

COMMANDS = (
    Command("init", "init", "init", "write a first envkit.yaml, from a template or from a compose file", _START,
            examples=("envkit init python-web", "envkit init --list", "envkit init --from-compose",
                      "envkit init --from-compose docker-compose.yml --dry-run")),
    Command("import", "importing", "import_", "write an envkit.yaml for containers that an engine runs", _START,
            examples=("envkit import --backend docker", "envkit import --backend podman web db --dry-run")),
    Command("validate", "config", "validate", "check the files and report every problem", _START,
            examples=("envkit validate", "envkit validate --json")),
    Command("config", "config", "config", "print the canonical model", _START, ("convert",),
            ("envkit config --json", "envkit config --origin", "envkit config --services")),
    Command("fmt", "fmt", "fmt", "lay YAML files out the same way everywhere; comments stay", _START,
            examples=("envkit fmt", "envkit fmt --check", "envkit fmt compose.yaml --diff")),
    Command("doctor", "project", "doctor", "say what this machine can do and what it lacks", _START,
            examples=("envkit doctor", "envkit doctor --quiet")),
    Command("plan", "apply", "plan", "show what apply would change; writes nothing", _DAILY,
            examples=("envkit plan", "envkit plan --json", "envkit plan -o plan.json && envkit apply plan.json")),
    Command("apply", "apply", "apply", "make the machine match the files", _DAILY,
            examples=("envkit apply", "envkit apply --only service.web", "envkit apply --build --wait")),
    Command("up", "up", "up", "apply, and show what the services print until Ctrl-C; -d returns at once", _DAILY,
            examples=("envkit up", "envkit up -d --build", "envkit up --exit-code-from tests")),
    Command("watch", "watch", "watch", "keep everything matched while you edit; Ctrl-C leaves it running", _DAILY,
            examples=("envkit watch", "envkit watch --no-up web", "envkit watch --down")),
    Command("create", "up", "create", "make what the files say and start nothing", _DAILY,
            examples=("envkit create", "envkit create --build web")),
    Command("scale", "up", "scale", "run another number of replicas", _DAILY, examples=("envkit scale web=3",)),
    Command("down", "down", "down", "stop and remove the environment; volumes stay", _DAILY, ("destroy",),
            ("envkit down", "envkit down --volumes --yes")),
    Command("build", "image", "build", "build the environment's images", _DAILY,
            examples=("envkit build", "envkit build --no-cache web")),
    Command("pull", "registry", "pull", "fetch the services' images from their registries", _DAILY,
            examples=("envkit pull", "envkit pull --ignore-buildable web")),
    Command("push", "registry", "push", "send the images that are built to their registries", _DAILY,
            examples=("envkit push", "envkit push web")),
    Command("stop", "act", "stop", "stop services and keep them", _DAILY,
            examples=("envkit stop", "envkit stop -t 30 web")),
    Command("start", "act", "start", "start stopped services", _DAILY,
            examples=("envkit start", "envkit start web")),
    Command("restart", "act", "restart", "restart services", _DAILY,
            examples=("envkit restart web", "envkit restart --no-deps web")),
    Command("rm", "down", "rm", "remove stopped instances", _DAILY, examples=("envkit rm -fs web",)),
    Command("kill", "act", "kill", "send a signal to services", _DAILY, examples=("envkit kill -s HUP web",)),
    Command("pause", "act", "pause", "freeze services", _DAILY,
            examples=("envkit pause web",)),
    Command("unpause", "act", "unpause", "let frozen services go on", _DAILY,
            examples=("envkit unpause web",)),
    Command("exec", "inside", "exec_", "run a command in a running service", _DAILY,
            examples=("envkit exec web sh", "envkit exec -T db psql -c 'select 1'")),
    Command("run", "inside", "run", "run a one-off container of a service", _DAILY,
            examples=("envkit run web python3 -m app.migrate",)),
    Command("attach", "inside", "attach", "join a running service's stdin and stdout", _DAILY,
            examples=("envkit attach web", "envkit attach --no-stdin web")),
    Command("cp", "cp", "cp", "copy files to and from a service", _DAILY,
            examples=("envkit cp web:/etc/hosts .", "envkit cp ./seed.sql db:/tmp/")),
    Command("wait", "act", "wait", "wait until services have ended", _DAILY,
            examples=("envkit wait migrate",)),
    Command("status", "status", "status", "show on one screen what runs, what it uses, what has drifted", _LOOK,
            examples=("envkit status", "envkit status --watch", "envkit status --json")),
    Command("ps", "look", "ps", "list the services' instances", _LOOK,
            examples=("envkit ps", "envkit ps --all --json")),
    Command("logs", "stream", "logs", "show what services have printed", _LOOK,
            examples=("envkit logs -f", "envkit logs --tail 20 --since 10m web")),
    Command("events", "stream", "events", "show what has happened to services", _LOOK,
            examples=("envkit events", "envkit events --json web")),
    Command("stats", "stream", "stats", "show what services use", _LOOK,
            examples=("envkit stats", "envkit stats --no-stream --json")),
    Command("top", "look", "top", "list the processes of services", _LOOK,
            examples=("envkit top web",)),
    Command("port", "look", "port", "print the host address of a published port", _LOOK,
            examples=("envkit port web 80",)),
    Command("ls", "look", "ls", "list the environments on this machine", _LOOK,
            examples=("envkit ls", "envkit ls --all --json")),
    Command("history", "look", "history", "list what each apply did", _LOOK,
            examples=("envkit history", "envkit history --json")),
    Command("diff", "why", "diff", "list the files that services have written; --targets: compare two places", _LOOK,
            examples=("envkit diff web", "envkit diff --targets team,prod")),
    Command("explain", "why", "explain", "say what an address is, who set its values; what a message means", _LOOK,
            examples=("envkit explain service.web", "envkit explain unknown-key", "envkit explain --list")),
    Command("graph", "why", "graph", "draw what depends on what", _LOOK,
            examples=("envkit graph > graph.mmd", "envkit graph --format svg > graph.svg")),
    Command("rollback", "why", "rollback", "go back to an earlier generation", _DAILY,
            examples=("envkit rollback", "envkit rollback 3 --yes")),
    Command("image", "image", "image", "ls, load, save, pull, push, inspect, layers, rm: the image store", _IMAGES,
            examples=("envkit image ls", "envkit image inspect app --json", "envkit image load image.tar")),
    Command("images", "image", "images", "list the images that services use", _IMAGES,
            examples=("envkit images", "envkit images --json")),
    Command("volume", "volume", "volume", "ls, rm, snapshot, restore, snapshots, export, import: volumes", _IMAGES,
            examples=("envkit volume snapshot data --pause", "envkit volume restore data 20260101-120000 --stop",
                      "envkit volume export data data.tar.zst", "envkit volume rm data@20260101-120000")),
    Command("volumes", "look", "volumes", "list the environment's volumes", _IMAGES,
            examples=("envkit volumes", "envkit volumes --json")),
    Command("lock", "lock", "lock", "lock what images are made of, in envkit.lock", _IMAGES,
            examples=("envkit lock", "envkit lock --update")),
    Command("audit", "audit", "audit", "say what the files allow beyond envkit's own defaults", _CARE,
            examples=("envkit audit", "envkit audit web --json", "envkit audit --fail-on high")),
    Command("gc", "project", "gc", "free the space of what nothing uses", _CARE,
            examples=("envkit gc --dry-run", "envkit gc --all")),
    Command("schema", "project", "schema", "print the JSON schema of envkit.yaml", _CARE,
            examples=("envkit schema > envkit.schema.json", "envkit schema --write")),
    Command("completion", "project", "completion", "print a completion script for bash, zsh or fish", _CARE,
            examples=("source <(envkit completion bash)",
                      "envkit completion fish > ~/.config/fish/completions/envkit.fish")),
    Command("version", "project", "version", "print the version", _CARE,
            examples=("envkit version", "envkit version --short")),
)  # fmt: skip

BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}

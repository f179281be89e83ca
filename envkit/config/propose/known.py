"""What is known of public images: where they write, which variables they read from a file, how they say they are well.

Sources: the images' own documentation and entrypoints (Docker Official Images, `docker-entrypoint.sh`, 2024); each
`*_FILE` below is named there.
"""

from __future__ import annotations

import re

from envkit.values import value

SECRET_NAME = re.compile(r"(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|KEY|CREDENTIALS?)$")
_NO_SECRET = re.compile(r"(?:^|_)PUBLIC_KEY$|(?:^|_)(?:ALLOW_EMPTY|RANDOM_ROOT|ALLOW)_PASSWORD$")


@value
class Known:
    """memory: directories for a tmpfs, beyond /tmp and /run; data: directories that the image declares as volumes;
    files: a pattern of the variables that have a `_FILE` form; health: a command; writes: why its root must be
    writable, "" where it need not be."""

    memory: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    files: str = ""
    health: tuple[str, ...] = ()
    writes: str = ""


_MYSQL = r"(?:MYSQL|MARIADB)_(?:ROOT_PASSWORD|PASSWORD|USER|DATABASE|ROOT_HOST)(?:_HASH)?"
_HTTPD = "it makes its files and its configuration below its root"
IMAGES = {
    "postgres": Known(data=("/var/lib/postgresql/data",), files=r"POSTGRES_(?:PASSWORD|USER|DB|INITDB_ARGS)",
                      health=("CMD-SHELL", "pg_isready -U $${POSTGRES_USER:-postgres}")),
    "postgis/postgis": Known(data=("/var/lib/postgresql/data",), files=r"POSTGRES_(?:PASSWORD|USER|DB|INITDB_ARGS)",
                             health=("CMD-SHELL", "pg_isready -U $${POSTGRES_USER:-postgres}")),
    "mysql": Known(data=("/var/lib/mysql",), files=_MYSQL,
                   health=("CMD-SHELL", "mysqladmin ping --host=127.0.0.1 --silent")),
    "mariadb": Known(data=("/var/lib/mysql",), files=_MYSQL,
                     health=("CMD-SHELL", "mariadb-admin ping --host=127.0.0.1 --silent")),
    "redis": Known(data=("/data",), health=("CMD", "redis-cli", "ping")),
    "valkey/valkey": Known(data=("/data",), health=("CMD", "valkey-cli", "ping")),
    "mongo": Known(data=("/data/configdb", "/data/db"), files=r"MONGO_INITDB_ROOT_(?:PASSWORD|USERNAME)",
                   health=("CMD-SHELL", "mongosh --quiet --eval 'db.runCommand({ping: 1}).ok' | grep -q 1")),
    "rabbitmq": Known(data=("/var/lib/rabbitmq",), health=("CMD", "rabbitmq-diagnostics", "-q", "ping")),
    "memcached": Known(),
    "nginx": Known(memory=("/var/cache/nginx",)),
    "httpd": Known(memory=("/usr/local/apache2/logs",)),
    "caddy": Known(data=("/config", "/data")),
    "traefik": Known(),
    "haproxy": Known(),
    "wordpress": Known(data=("/var/www/html",),
                       files=r"WORDPRESS_(?:DB_(?:HOST|USER|PASSWORD|NAME)|(?:AUTH|SECURE_AUTH|LOGGED_IN|NONCE)_"
                             r"(?:KEY|SALT))"),
    "nextcloud": Known(data=("/var/www/html",),
                       files=r"(?:MYSQL|POSTGRES)_(?:DATABASE|DB|USER|PASSWORD)|NEXTCLOUD_ADMIN_(?:USER|PASSWORD)"),
    "ghost": Known(data=("/var/lib/ghost/content",), writes=_HTTPD),
    "joomla": Known(data=("/var/www/html",), files=r"JOOMLA_DB_PASSWORD"),
    "mediawiki": Known(writes=_HTTPD),
    "drupal": Known(writes=_HTTPD),
    "gitlab/gitlab-ce": Known(writes="it configures itself below /opt and /etc"),
    "gitlab/gitlab-ee": Known(writes="it configures itself below /opt and /etc"),
    "gitea/gitea": Known(data=("/data",), writes="its entrypoint writes below /etc"),
    "jenkins/jenkins": Known(data=("/var/jenkins_home",)),
    "grafana/grafana": Known(memory=("/var/lib/grafana", "/var/log/grafana")),
    "prom/prometheus": Known(data=("/prometheus",)),
    "elasticsearch": Known(writes="it writes its keystore and its logs below /usr/share/elasticsearch"),
    "minio/minio": Known(data=("/data",), files=r"MINIO_ROOT_(?:USER|PASSWORD)"),
    "influxdb": Known(data=("/var/lib/influxdb2", "/etc/influxdb2")),
    "adminer": Known(),
    "phpmyadmin": Known(files=r"PMA_PASSWORD|MYSQL_(?:ROOT_)?PASSWORD", writes=_HTTPD),
    "registry": Known(data=("/var/lib/registry",)),
    "dockersamples/visualizer": Known(),
}  # fmt: skip
"""By the repository, without registry, `library/` and tag."""


def repository(reference: str) -> str:
    """`docker.io/library/postgres:15-alpine` -> `postgres`."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        name = rest
    return name.removeprefix("library/")


def known(reference: str) -> Known | None:
    """What is known of an image; of its repository's last part where the whole is not known (a mirror's copy)."""
    name = repository(reference)
    return IMAGES.get(name) or IMAGES.get(name.rpartition("/")[2]) if name else None


def reads_file(reference: str, variable: str) -> bool:
    """Whether the image takes VARIABLE_FILE for VARIABLE."""
    found = known(reference)
    return bool(found and found.files and re.fullmatch(found.files, variable))


def looks_secret(variable: str) -> bool:
    """Whether a variable's name is that of a secret."""
    name = variable.upper()
    return bool(SECRET_NAME.search(name)) and not _NO_SECRET.search(name)
